"""The one door to etcd: what a lock needs of it (`store.py`), and a client that gives it (`client.py`).

Only modules of this room import gRPC, protobuf and etcd3. `store.py` imports none of them: everybody else, and the
fake of the tests, speaks of etcd without knowing how it is reached. The room imports only `errors` and `model`.
"""
