"""Topics as tests want them: created at once, also where one of the same name was deleted a moment ago."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from partition_workers.kafka.topics import Topic, describe
from tests.eventually import eventually


def create(admin: AdminClient, name: str, partitions: int = 1) -> None:
    """Return when the broker tells of it."""

    def created() -> bool:
        try:
            admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20.0)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False  # the old one is still being deleted
        return True

    eventually(f"{name} is created", created, deadline=20)
    eventually(f"{name} is known", lambda: name in admin.list_topics(timeout=10.0).topics, deadline=20)


def make_anew(admin: AdminClient, name: str) -> None:
    """Delete it, and create it at once. Return when the broker tells of the new one: what is produced before that may
    still go to the old one, and is lost with it."""
    before = topic_id(admin, name)
    delete(admin, name)
    create(admin, name)
    eventually(f"{name} has another id", lambda: topic_id(admin, name) not in ("", before), deadline=20)


def topic_id(admin: AdminClient, name: str) -> str:
    found = describe(admin, [name], 10.0)[name]
    return found.topic_id if isinstance(found, Topic) else ""


def delete(admin: AdminClient, name: str) -> None:
    admin.delete_topics([name])[name].result(20.0)
