"""What is sampled beside the loop: of one moment, as new as it can be had, and only when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from partition_supervisor.web import sampler
from partition_supervisor.web.sampler import EVERY, Sampler, Samples
from partition_workers.errors import Unreachable
from partition_workers.model import Partition
from tests.eventually import eventually
from tests.fakes.clock import FakeClock

P, Q = Partition("events", 0), Partition("events", 1)


class Sampled:
    """A host that owns `offsets`, and a Kafka whose partitions end at `ends`."""

    def __init__(self) -> None:
        self.clock = FakeClock(100.0)
        self.offsets: dict[Partition, int] = {P: 990}
        self.ends: dict[Partition, int] = {P: 1_000, Q: 500}
        self.times = 0
        self.answers = threading.Event()
        self.answers.set()
        self.sampler = Sampler(
            dict, tuple, lambda: None, lambda: dict(self.offsets), self._where_they_end, self.clock
        )

    def _where_they_end(self) -> Mapping[Partition, int]:
        self.times += 1
        self.answers.wait(10.0)
        if not self.ends:
            raise Unreachable("Kafka is silent")
        return dict(self.ends)

    def ask(self) -> Samples:
        return self.sampler.ask()


@pytest.fixture
def sampled() -> Iterator[Sampled]:
    made = Sampled()
    yield made
    made.answers.set()


def test_the_first_who_asks_has_it_all(sampled: Sampled) -> None:
    assert sampled.ask().lags == {P: 10}
    assert sampled.ask().kafka_seconds is not None
    assert sampled.times == 1


def test_lag_is_of_one_moment(sampled: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute later the owner has handled 600 records, and 600 have come: it is as far behind as before. While Kafka
    is slow to say so, what it was is told, and not the difference of then and now."""
    assert sampled.ask().lags == {P: 10}
    sampled.clock.advance(60.0)
    sampled.offsets, sampled.ends = {P: 1_590}, {P: 1_600}
    monkeypatch.setattr(sampler, "PATIENCE", 0.05)
    sampled.answers.clear()
    assert sampled.ask().lags == {P: 10}, "Kafka has not answered yet"
    sampled.offsets = {P: 1_600}
    sampled.answers.set()
    eventually("the lag is that of the sample", lambda: sampled.sampler._taken.is_set())
    assert sampled.ask().lags == {P: 10}


def test_who_asks_seldom_is_told_of_now(sampled: Sampled) -> None:
    """And not of when somebody asked before."""
    assert sampled.ask().lags == {P: 10}
    sampled.clock.advance(60.0)
    sampled.offsets, sampled.ends = {P: 991, Q: 0}, {P: 2_000, Q: 500}
    assert sampled.ask().lags == {P: 1_009, Q: 500}


def test_who_asks_often_makes_no_more_samples(sampled: Sampled) -> None:
    for _ in range(10):
        sampled.ask()
        sampled.clock.advance(EVERY / 4)
    assert sampled.times == 3


def test_nothing_is_sampled_for_nobody(sampled: Sampled) -> None:
    sampled.ask()
    sampled.clock.advance(600.0)
    assert not sampled.sampler._asked.wait(0.1)
    assert sampled.times == 1


def test_a_kafka_that_is_silent_tells_no_lag(sampled: Sampled) -> None:
    sampled.ends = {}
    found = sampled.ask()
    assert (found.lags, found.kafka_seconds) == ({}, None)


def test_a_sample_that_fails_keeps_nobody_waiting(sampled: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by an error that nobody expected."""
    monkeypatch.setattr(sampler, "PATIENCE", 60.0)
    broken: Callable[[], dict[Partition, int]] = lambda: {}[P]  # type: ignore[index]  # noqa: E731
    monkeypatch.setattr(sampled.sampler, "_offsets", broken)
    assert sampled.ask() == Samples()
