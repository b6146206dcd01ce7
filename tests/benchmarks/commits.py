"""What fenced commits cost, by how often there is one and how many state keys it writes.

A worker handles records as fast as it can, and each record changes one of so many state keys. What is told of it was
seen by a watch on its offset in etcd: how many records and transactions there were in how much time, how long a
commit took from its making until everybody could see it, and how much work a kill would have undone just before that.
An interval of 0 is one transaction for each record, which is how this project was first thought of.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from partition_supervisor.dev.demo.judge import wait_for
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.layout.documents import StoredOffset, milliseconds, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.benchmarks.filling import fill
from tests.benchmarks.racing import Race
from tests.benchmarks.starting import Course, Starting
from tests.benchmarks.trials import Bench, Trial, median, quantile

#: Records in the topic: full and quick. More than are handled in a trial.
RECORDS = (5_000_000, 3_000_000)
#: Seconds of a trial, and of the warm-up before.
LENGTH, WARM_UP = (2.0, 1.0), 0.4

#: The default interval and one key come first: the other settings are compared with them.
INTERVALS, KEYS = (0.1, 0.01, 0.05, 0.5, 0.0), (1, 10, 100)
QUICK = ((0.1, 1), (0.0, 1), (0.01, 1), (0.1, 100))


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit, and when the watch told of it (wall clock, as in the document)."""

    commit: StoredOffset
    at: str

    @property
    def latency(self) -> float:
        """Milliseconds from its making."""
        return milliseconds(self.commit.at, self.at)


def measure(bench: Bench) -> Iterator[Trial]:
    until = time.monotonic() + bench.seconds
    course = Course(f"commits-{secrets.token_hex(3)}", 1, RECORDS[bench.quick])
    bench.say(f"filling {course.records:,} records")
    fill(bench.bootstrap_servers, course.topic, 1, course.records)
    cells = QUICK if bench.quick else tuple((interval, keys) for interval in INTERVALS for keys in KEYS)
    starting, took = Starting(bench), 0.0
    for number in range(1_000):
        for interval, keys in cells:
            begun = time.monotonic()
            if number and begun + took > until:
                return
            seen = _watched(bench, starting, course, interval, keys)
            yield from _trials(interval, keys, number, seen)
            took = time.monotonic() - begun


def _watched(bench: Bench, starting: Starting, course: Course, interval: float, keys: int) -> list[Seen]:
    """The commits of one worker after its warm-up; without the last one, if it came to the end of the topic."""
    with Race(1, course.records, keys) as race:
        group = starting.ours(race, course, "Keyed", ("--commit-interval", f"{interval:g}"))
        offset = Keys.of("partition-supervisor", group).offset(Partition(course.topic, 0))
        with _watching(bench.etcd_endpoints, offset) as seen:
            wait_for("the first commit", lambda: bool(seen), 30.0)
            time.sleep(WARM_UP)
            warm = len(seen)
            time.sleep(LENGTH[bench.quick])
            race.kill()
    return [each for each in seen[warm:] if each.commit.offset < course.records]


@contextmanager
def _watching(endpoints: str, key: str) -> Iterator[list[Seen]]:
    """A list that grows with each commit."""
    seen: list[Seen] = []
    store = Etcd(EtcdOptions(parse_endpoints(endpoints)))
    stream = store.watch((key,), store.list(key).revision + 1)

    def note() -> None:
        seen.extend(Seen(StoredOffset.decode(change.item.value), now()) for change in stream)

    thread = threading.Thread(target=note, name="watching", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stream.cancel()
        thread.join(5.0)
        store.close()


def _trials(interval: float, keys: int, number: int, seen: list[Seen]) -> Iterator[Trial]:
    if len(seen) < 2:
        raise RuntimeError(f"only {len(seen)} commits at an interval of {interval:g} s")
    first, last = seen[0].commit, seen[-1].commit
    records, transactions = last.offset - first.offset, last.sequence - first.sequence
    rate = records / (milliseconds(first.at, last.at) / 1000)
    windows = [b.commit.offset - a.commit.offset + rate * b.latency / 1000 for a, b in pairwise(seen)]
    latencies = [each.latency for each in seen]
    facts: dict[str, float | int | str] = {"round": number + 1, "interval, ms": interval * 1000, "keys": keys}
    tail = {"p99, ms": round(quantile(latencies, 0.99), 3)}
    system = name_of(interval, keys)
    yield Trial("commits", system, "records/s", rate, "1/s", {**facts, "transactions": transactions})
    yield Trial("commits", system, "transactions per record", transactions / records, "", facts)
    yield Trial("commits", system, "commit latency", median(latencies), "ms", {**facts, **tail})
    yield Trial("commits", system, "replay window", median(windows), "records", facts)


def name_of(interval: float, keys: int) -> str:
    """As in the table; "ours" alone is the default."""
    if (interval, keys) == (0.1, 1):
        return "ours"
    often = f"every {interval * 1000:g} ms" if interval else "every record"
    return f"ours, {often}, {keys} key{'s' * (keys > 1)}"
