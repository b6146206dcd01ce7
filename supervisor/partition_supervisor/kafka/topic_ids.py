"""The id that Kafka gives a topic when it is created: a topic that is made anew under the same name has another."""

from __future__ import annotations

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient


def topic_ids(admin: AdminClient, names: list[str]) -> dict[str, str]:
    """The id of each topic; "" where the broker does not tell."""
    if not names:
        return {}
    ids = {}
    for name, future in admin.describe_topics(TopicCollection(names), request_timeout=5.0).items():
        try:
            ids[name] = str(future.result().topic_id)
        except KafkaException:
            ids[name] = ""  # a broker too old to have ids, or a stand-in
    return ids
