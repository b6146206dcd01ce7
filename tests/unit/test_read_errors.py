"""What librdkafka reports in the place of a record, and for how long it may."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from partition_workers.errors import PartitionRefused
from partition_workers.kafka.client_log import ClientLog
from partition_workers.kafka.read_errors import PATIENCE, Meaning, Trouble, meaning_of
from partition_workers.kafka.topics import NO_ID
from partition_workers.model import Partition

P = Partition("events", 0)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (KafkaError._PARTITION_EOF, Meaning.END),
        (KafkaError._TRANSPORT, Meaning.MENDS),
        (KafkaError.NOT_LEADER_FOR_PARTITION, Meaning.MENDS),
        (KafkaError._AUTO_OFFSET_RESET, Meaning.NOT_THERE),
        (KafkaError.OFFSET_OUT_OF_RANGE, Meaning.NOT_THERE),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Meaning.MAY_PASS),
        (KafkaError._UNKNOWN_PARTITION, Meaning.MAY_PASS),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Meaning.MAY_PASS),
        (KafkaError._BAD_MSG, Meaning.BAD),
        (KafkaError._BAD_COMPRESSION, Meaning.BAD),
        (KafkaError._NOT_IMPLEMENTED, Meaning.BAD),
        (KafkaError._LOG_TRUNCATION, Meaning.NOT_THERE),
        (KafkaError.INVALID_MSG, Meaning.BAD),
        (KafkaError.UNSUPPORTED_COMPRESSION_TYPE, Meaning.BAD),
        (12345, Meaning.BAD),
    ],
)
def test_an_error_that_is_not_known_to_mend_is_bad(code: int, meaning: Meaning) -> None:
    assert meaning_of(KafkaError(code)) is meaning


@pytest.mark.parametrize("meaning", [Meaning.BAD, Meaning.MAY_PASS])
def test_an_error_that_stays_at_one_offset_is_given_up(meaning: Meaning) -> None:
    trouble = Trouble(P)
    trouble.met(meaning, "broken", 7, 100.0)
    trouble.met(meaning, "broken", 7, 100.0 + PATIENCE[meaning] - 0.1)
    with pytest.raises(PartitionRefused, match="broken"):
        trouble.met(meaning, "broken", 7, 100.0 + PATIENCE[meaning])


def test_an_error_at_another_offset_or_after_it_was_over_is_another() -> None:
    trouble = Trouble(P)
    for offset in range(10):
        trouble.met(Meaning.BAD, "broken", offset, offset * 100.0)
    trouble.over()
    trouble.met(Meaning.BAD, "broken", 9, 5000.0)


def test_a_record_that_is_not_there_is_refused_at_once_with_what_helps() -> None:
    with pytest.raises(PartitionRefused, match=r"offset 7 .*nothing was skipped.*offsets reset events\[0\]"):
        Trouble(P).met(Meaning.NOT_THERE, "out of range", 7, 0.0)


def test_an_offset_that_is_blamed_behind_a_bad_batch_is_not() -> None:
    """librdkafka has lost its place; what is told is what was wrong first."""
    trouble = Trouble(P)
    trouble.met(Meaning.BAD, "wrong checksum", 7, 0.0)
    trouble.met(Meaning.NOT_THERE, "out of range", 7, 1.0)
    with pytest.raises(PartitionRefused, match="wrong checksum"):
        trouble.met(Meaning.NOT_THERE, "out of range", 7, 10.0)


def client_log(**config: Any) -> ClientLog:
    return ClientLog(config, "events")


def say(log: ClientLog, line: str, level: int = logging.DEBUG) -> None:
    log.log(level, "%s [%s] %s", "METADATA", "rdkafka#consumer-1", f"[thrd:main]: {line}")


def test_the_topics_id_is_heard_and_a_change_of_it() -> None:
    log = client_log()
    say(log, f"Topic events changed id from {NO_ID} to abc+/1")
    assert (log.topic_id, log.turned) == ("abc+/1", False)
    log.expect("abc+/1")
    say(log, "Topic other.events changed id from abc+/1 to x")
    assert (log.topic_id, log.turned) == ("abc+/1", False)
    say(log, "Topic events changed id from abc+/1 to def")
    assert (log.topic_id, log.turned) == ("def", True)


def test_a_client_that_was_behind_catches_up_with_what_is_expected() -> None:
    log = client_log()
    say(log, f"Topic events changed id from {NO_ID} to old")
    log.expect("new")
    assert not log.turned, "under an id that is no more nothing can be read"
    say(log, "Topic events changed id from old to new")
    assert (log.topic_id, log.turned) == ("new", False)


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({}, {logging.WARNING, logging.INFO}),
        ({"log_level": 3}, set()),
        ({"log_level": "4"}, {logging.WARNING}),
        ({"debug": "fetch"}, {logging.WARNING, logging.INFO, logging.DEBUG}),
    ],
)
def test_what_is_said_for_the_id_alone_is_not_shown(config: dict[str, Any], shown: set[int]) -> None:
    """Whatever level and debugging somebody asked for by -X is as it was."""
    log = client_log(**config)
    heard: list[int] = []
    log._log = cast(logging.Logger, SimpleNamespace(log=lambda level, *_line: heard.append(level)))
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        say(log, "something", level)
    assert set(heard) == shown
    assert str(log.settings()["debug"]).endswith("metadata")
