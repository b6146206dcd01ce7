"""Owning a partition: the lock, the lease under it, the exact transactions, and the history of owners.

`transactions.py` opens with the argument why they are safe: read that first. The room imports `etcd.store`, `layout`
and the ground (`errors`, `model`, `clock`, `retry`), and nothing that handles records.
"""
