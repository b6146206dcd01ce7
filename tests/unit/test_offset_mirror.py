"""Copying offsets to Kafka's group: its failures are told once, and never in the way."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from partition_supervisor.kafka import offset_mirror
from partition_supervisor.kafka.offset_mirror import OffsetMirror
from partition_workers.model import Partition

P = Partition("events", 0)
BROKEN = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "not allowed")
SILENCE = "silence"


class FakeAdmin:
    def __init__(self) -> None:
        self.outcome: Any = None
        self.copies = 0

    def alter_consumer_group_offsets(self, _asked: Any) -> dict[str, Future[Any]]:
        self.copies += 1
        future: Future[Any] = Future()
        if isinstance(self.outcome, Exception):
            future.set_exception(self.outcome)
        elif self.outcome is not SILENCE:
            future.set_result(SimpleNamespace(topic_partitions=[SimpleNamespace(error=self.outcome)]))
        return {"group": future}


@pytest.fixture
def admin() -> FakeAdmin:
    return FakeAdmin()


@pytest.fixture
def mirror(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> OffsetMirror:
    monkeypatch.setattr(offset_mirror, "PATIENCE", 0.1)
    made = OffsetMirror({"bootstrap.servers": "127.0.0.1:1"}, "group")
    made._admin = cast(AdminClient, admin)
    return made


@pytest.mark.parametrize("outcome", [BROKEN, KafkaException(BROKEN), SILENCE])
def test_a_failure_is_told_once_until_it_has_worked_again(
    admin: FakeAdmin, mirror: OffsetMirror, outcome: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when there is no answer at all: it is no exception in the supervisor's loop."""
    with caplog.at_level(logging.INFO):
        for each in (outcome, outcome, None, None, outcome, outcome):
            admin.outcome = each
            mirror.copy({P: 7})
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert admin.copies == 6


def test_while_one_copy_is_under_way_another_is_left_out(admin: FakeAdmin, mirror: OffsetMirror) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = admin.alter_consumer_group_offsets

    def slowly(asked: Any) -> dict[str, Future[Any]]:
        entered.set()
        assert go_on.wait(10.0)
        return original(asked)

    admin.alter_consumer_group_offsets = slowly  # type: ignore[method-assign, assignment]
    first = threading.Thread(target=mirror.copy, args=({P: 7},))
    first.start()
    assert entered.wait(10.0)
    mirror.copy({P: 8})
    go_on.set()
    first.join(10.0)
    assert admin.copies == 1
