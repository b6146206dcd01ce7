"""Threads and blocking calls: to etcd (watching, entering the group, passing on locks) and to other hosts.

Nothing is decided in here; what is found out is told to the loop. The room imports the ground and
`partition_workers`.
"""
