"""What `check` looks at: etcd, Kafka, this host, the group. Each module judges facts; gathering them stands beside.

A finding says what was looked at, how it is, and, where it is not well, the fix.
"""
