"""Kafka and etcd on this machine (`services`), and a cluster to break (`demo`).

The room may import everything but `commands` and `cli`; nothing but `commands` imports it.
"""
