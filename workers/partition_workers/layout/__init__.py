"""What stands where in etcd: the keys (`keys.py`) and the values below them (`documents.py`).

The layout is public (docs/etcd-layout.md). The room imports only `model`.
"""
