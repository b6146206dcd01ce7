"""The workers as processes: the fork server, the children, why one ended, and the reader of its log.

No policy in here. The room imports the ground and `partition_workers`.
"""
