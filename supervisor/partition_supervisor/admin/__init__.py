"""What the commands read and write: the picture of a group, control keys, offsets, history, and how they look.

Knows no loop and no process. The room imports the ground, `cluster.retry`, `kafka`, and `partition_workers`.
"""
