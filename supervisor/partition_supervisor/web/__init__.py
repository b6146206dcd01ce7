"""What a browser and other tools see over HTTP: the page of a group and its API.

Reads etcd and Kafka's end offsets, and knows no supervisor: it survives every host that it shows. The room imports
`admin`, `kafka`, the ground and `partition_workers`; only modules of this room import starlette.
"""
