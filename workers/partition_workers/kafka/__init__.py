"""A worker's door to Kafka: reading one partition (`reader.py`), sending dead letters (`dead_letters.py`).

Only modules of this room import confluent_kafka. The room imports only `errors` and `model`.
"""
