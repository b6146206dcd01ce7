"""Whose word counts about which topic an offset is of: the supervisor's, the client's, or Kafka's own."""

from __future__ import annotations

import pytest

from partition_workers.errors import TopicMadeAnew
from partition_workers.layout.documents import StoredOffset, now
from partition_workers.model import Partition
from partition_workers.topic_identity import TopicIdentity
from tests.fakes.kafka import FakeReader

P = Partition("events", 0)


def reader(client: str, kafka: str = "") -> FakeReader:
    made = FakeReader([], P, lambda _seconds: None)
    made.id_of_client, made.id_of_kafka = client, kafka
    return made


def stored(topic_id: str) -> StoredOffset:
    return StoredOffset(7, 1, 1, topic_id, now())


@pytest.mark.parametrize(
    ("etcd", "client", "told", "written"),
    [("a", "b", "c", "a"), ("", "b", "c", "b"), ("", "", "c", "c"), (None, "b", "c", "b"), (None, "", "", "")],
)
def test_what_is_stored_wins_then_what_is_read_then_what_was_told(
    etcd: str | None, client: str, told: str, written: str
) -> None:
    """It is never replaced by another, nor by "not known"."""
    identity = TopicIdentity(reader(client), None if etcd is None else stored(etcd), told)
    assert identity.topic_id == written


@pytest.mark.parametrize("client", ["a", ""])
@pytest.mark.parametrize("told", ["a", ""])
def test_who_knows_of_no_other_id_troubles_nobody(client: str, told: str) -> None:
    """Kafka is not even asked, which would take time."""
    fake = reader(client, kafka="never asked")
    TopicIdentity(fake, stored("a"), told).check()
    assert fake.expected == "a"


@pytest.mark.parametrize(("client", "told"), [("b", "a"), ("a", "b"), ("", "b"), ("b", "")])
@pytest.mark.parametrize("kafka", ["b", ""])
def test_another_id_is_believed_when_kafka_says_so_or_nothing(client: str, told: str, kafka: str) -> None:
    """Whoever told of it."""
    with pytest.raises(TopicMadeAnew, match=r"offset 7 .* offsets reset events\[0\]"):
        TopicIdentity(reader(client, kafka), stored("a"), told).check()


@pytest.mark.parametrize(("client", "told"), [("b", "a"), ("a", "b")])
def test_an_id_of_yesterday_is_not_believed(client: str, told: str) -> None:
    """A standby that was made before the topic was; or a broker that is behind."""
    TopicIdentity(reader(client, kafka="a"), stored("a"), told).check()


def test_an_id_that_is_learnt_later_is_taken_up_once() -> None:
    """The first answer was lost. From then on another one is refused."""
    fake = reader("", kafka="b")
    identity = TopicIdentity(fake, stored(""), "")
    identity.check()
    identity.hear("a", 9)
    assert (identity.topic_id, fake.expected) == ("a", "a")
    with pytest.raises(TopicMadeAnew, match="offset 12"):
        identity.hear("b", 12)
    identity.hear("", 12)
    assert identity.topic_id == "a"
