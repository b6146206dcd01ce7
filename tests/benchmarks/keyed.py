"""Counting by key: records a second, by how many keys there are, beside frameworks that keep such a state.

The state is what each of them keeps as its users run it: ours in etcd, with the offset; theirs in RocksDB, with a
changelog topic in Kafka. A bare loop with the same handler keeps it in a dict and loses it: what the machine can do.
Keys are chosen at random. It is also told what each record costs etcd, by how much its database grew, and how long a
takeover takes with such a state, from the exit of the killed owner to the first record at its successor.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from partition_supervisor.dev.demo.judge import wait_for
from partition_workers.errors import PartitionSupervisorError
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.layout.documents import History, Lock, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.benchmarks import frameworks
from tests.benchmarks.etcd_load import Counters, look
from tests.benchmarks.filling import fill
from tests.benchmarks.racing import Race
from tests.benchmarks.starting import Course, Starting
from tests.benchmarks.trials import Bench, Trial

#: How many keys, and for each how many records are handled: by ours and the bare loop, and by frameworks, which
#: commit every five seconds, and shall do so while they are timed.
CELLS = {10: (1_500_000, 400_000), 1_000: (1_500_000, 400_000), 100_000: (250_000, 400_000)}
QUICK = {10: (600_000, 300_000), 1_000: (600_000, 300_000), 100_000: (120_000, 300_000)}

#: So many hold up nobody, and are measured twice.
FEW_KEYS = 10

#: Records in the topic beyond those that are timed: for the successor after a takeover.
MORE = 300_000


@dataclass(frozen=True, slots=True)
class Entry:
    system: str
    handler: str
    start: Callable[[Race, Course, str], str]
    rival: bool = False
    """A framework: slow, and left out when it does not run with this Kafka."""
    share: float = 1.0
    """Of the records, how many it handles: the slowest need a minute for 200,000."""
    rounds: int = 1_000
    """It is left out of later ones."""


def measure(bench: Bench) -> Iterator[Trial]:
    """All systems for each number of keys, in turns, until the time is over."""
    until = time.monotonic() + bench.seconds
    cells = QUICK if bench.quick else CELLS
    starting = Starting(bench)
    entries = _entries(bench, starting)
    courses = {keys: _course(bench, keys, records) for keys, (records, _few) in cells.items()}
    took: dict[tuple[int, str], float] = {}
    for number in range(1_000):
        raced = False
        for keys, course in courses.items():
            here = [each for each in entries if number < (each.rounds if keys > FEW_KEYS else min(each.rounds, 2))]
            for each in here if number % 2 == 0 else reversed(here):
                begun = time.monotonic()
                if begun + took.get((keys, each.system), 0.0) > until:
                    continue
                try:
                    yield from _race(bench, each, course, keys, int(cells[keys][each.rival] * each.share), number)
                except (RuntimeError, TimeoutError) as error:
                    if not each.rival:
                        raise
                    bench.say(f"left out, because it does not run here: {each.system}: {error}")
                    entries.remove(each)
                raced = True
                took[keys, each.system] = time.monotonic() - begun
            if here and time.monotonic() < until:
                yield _takeover(bench, starting, course, keys, number)
        if not raced:
            break


def _entries(bench: Bench, starting: Starting) -> list[Entry]:
    entries = [
        Entry("ours, per record", "ByKey", starting.ours),
        Entry("ours, by batch", "ByKeyInLists", starting.ours, rounds=2),
    ]
    if bench.only_ours:
        return entries
    entries += [
        Entry("bare loop, per record", "ByKey", starting.bare),
        Entry("bare loop, by batch", "ByKeyInLists", starting.bare, rounds=2),
    ]
    for name in ("quixstreams", "faust"):
        try:
            start = starting.framework(name, by_key=True)
            share, rounds = (0.15, 1) if name == "faust" else (1.0, 1_000)
            title = frameworks.PACKAGES[name].replace("==", " ")
            entries.append(Entry(title, "", start, rival=True, share=share, rounds=rounds))
        except PartitionSupervisorError as error:
            bench.say(f"left out: {error}")
    return entries


def _course(bench: Bench, keys: int, records: int) -> Course:
    course = Course(f"keyed-{keys}-{secrets.token_hex(3)}", 1, records)
    bench.say(f"filling {records + MORE:,} records with {keys:,} keys")
    fill(bench.bootstrap_servers, course.topic, 1, max(records + MORE, 400_000), keys)
    return course


def _race(bench: Bench, entry: Entry, course: Course, keys: int, records: int, number: int) -> Iterator[Trial]:
    with Race(1, records) as race:
        group = entry.start(race, course, entry.handler)
        before = look(bench.etcd_endpoints)
        outcome = race.run({})
        after = look(bench.etcd_endpoints)
    facts: dict[str, float | int | str] = {"round": number + 1, "seconds": round(outcome.seconds, 3)}
    ours = entry.system.startswith("ours")
    if ours:
        facts |= _cost(before, after, _commits(bench, course, group), records)
    yield Trial("keyed", entry.system, f"records/s, {keys:,} keys", outcome.rate, "1/s", facts)
    yield Trial("keyed", entry.system, f"cpu per record, {keys:,} keys", outcome.cpu, "us", {"round": number + 1})


def _cost(before: Counters, after: Counters, commits: int, records: int) -> dict[str, float | int | str]:
    return {
        "commits": commits,
        "etcd cpu, us/record": round((after.cpu_seconds - before.cpu_seconds) / records * 1e6, 2),
        "bytes to etcd/record": round((after.received - before.received) / records, 1),
        "growth of its database, MB": round((after.database - before.database) / 1e6, 1),
    }


def _commits(bench: Bench, course: Course, group: str) -> int:
    store = Etcd(EtcdOptions(parse_endpoints(bench.etcd_endpoints)))
    try:
        found = store.get(Keys.of("partition-supervisor", group).offset(Partition(course.topic, 0)))
        return StoredOffset.decode(found.value).sequence if found else 0
    finally:
        store.close()


def _takeover(bench: Bench, starting: Starting, course: Course, keys: int, number: int) -> Trial:
    """Killed at full speed, with all keys in its state."""
    partition = Partition(course.topic, 0)
    store = Etcd(EtcdOptions(parse_endpoints(bench.etcd_endpoints)))
    try:
        with Race(1, course.records) as race:
            group = starting.ours(race, course, "ByKey", ("--workers", "2"))
            names = Keys.of("partition-supervisor", group)
            race.wait_for("marks")
            held = store.get(names.lock(partition))
            if held is None:
                raise RuntimeError("nobody owns the partition")
            os.kill(Lock.decode(held.value).pid, signal.SIGKILL)
            gaps: list[dict[str, float]] = []

            def noted() -> bool:
                found = [History.decode(each.value) for each in store.list(names.histories(partition)).items]
                gaps[:] = [each.gap for each in found if each.token > held.mod_revision and each.gap]
                return bool(gaps)

            wait_for("a successor has handled its first record", noted, 60.0)
    finally:
        store.close()
    gap = gaps[0]
    facts: dict[str, float | int | str] = {
        "round": number + 1,
        "until the state was loaded, ms": round(gap["state_loaded"] - gap["exit_seen"], 1),
    }
    return Trial("keyed", "ours", f"takeover, {keys:,} keys", gap["first_record"] - gap["exit_seen"], "ms", facts)
