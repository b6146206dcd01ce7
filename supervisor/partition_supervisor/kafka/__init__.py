"""The supervisor's door to Kafka: which partitions there are, where they end, the mirrored offsets, sample records.

Only modules of this room import confluent_kafka. The room imports the ground and `partition_workers`.
"""
