"""Records a second, and the processor time of each: ours beside plain loops, consumer groups and frameworks.

Every system reads the same topics, filled once, with the same handler (`counting.py`), from the first record on. The
rate is that of all processes together: from the moment the first of them has its warm-up behind it until the last has
handled its last record. Processor time is that of the processes that handle records, in all their threads; what the
supervisor, Kafka and etcd used meanwhile is told beside it. They share the machine: what they take on a machine with
few cores is missing to the workers, and the figures contain it.

What the systems promise differs, and stands beside each rate: how many records are handled again after a kill at
that rate, at the most. How many really were is measured too.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from partition_workers.errors import PartitionSupervisorError
from tests.benchmarks import frameworks
from tests.benchmarks.budgets import FEWEST
from tests.benchmarks.filling import fill
from tests.benchmarks.racing import Outcome, Race, listening
from tests.benchmarks.starting import GROUP_INTERVAL, OUR_INTERVAL, Course, Starting
from tests.benchmarks.trials import Bench, Trial

#: Records in each partition of the topic with so many partitions: full and quick.
RECORDS = {1: (3_000_000, 1_200_000), 2: (1_500_000, 600_000), 4: (750_000, 300_000)}

#: Enough for a framework that needs many microseconds for one.
FEW = 200_000

Start = Callable[[Race, Course, str], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A system, as it takes part."""

    system: str
    processes: int
    handler: str
    start: Start
    window: float
    """Seconds of work that a kill undoes, at the most; inf: nothing is kept."""
    metric: str = "records/s"
    few: bool = False
    """A framework: slow, and left out when it does not run with this Kafka."""
    rounds: int = 1_000
    """It is left out of later ones."""
    least: int = 1
    """Rounds of it that are run however long they take."""


def measure(bench: Bench) -> Iterator[Trial]:
    """Every system once, then those that matter most again and again, until the time is over."""
    until = time.monotonic() + bench.seconds
    starting = Starting(bench)
    entries = [each for each in _entries(bench, starting) if each.system.startswith("ours") or not bench.only_ours]
    courses = _courses(bench, {each.processes for each in entries})
    servers = {"kafka": listening(bench.bootstrap_servers), "etcd": listening(bench.etcd_endpoints)}
    took: dict[str, float] = {}
    for number in range(1_000):
        raced = False
        here = [each for each in entries if number < each.rounds]
        for each in here if number % 2 == 0 else reversed(here):
            begun = time.monotonic()
            if number >= each.least and begun + took.get(each.system, 0.0) > until:
                continue
            course = courses[each.processes]
            try:
                with Race(each.processes, FEW if each.few else course.records) as race:
                    each.start(race, course, each.handler)
                    outcome = race.run(servers)
            except (RuntimeError, TimeoutError) as error:
                if not each.few:
                    raise
                bench.say(f"left out, because it does not run here: {each.system}: {error}")
                entries.remove(each)
                continue
            raced = True
            yield from _trials(each, outcome, number)
            took[each.system] = time.monotonic() - begun
        if not raced and number >= FEWEST:
            break
        if number == 0:
            yield from _replayed(bench, starting, courses[1])


def _entries(bench: Bench, starting: Starting) -> list[Entry]:
    """In the order of the table. What is compared stands side by side, so that it is measured one after the other."""
    ours, bare, group = OUR_INTERVAL, math.inf, GROUP_INTERVAL
    one, many = "Each", "List"
    least = 1 if bench.only_ours else FEWEST
    entries = [
        Entry("ours, per record", 1, one, starting.ours, ours, least=least),
        Entry("bare loop, per record", 1, one, starting.bare, bare, least=least),
        Entry("ours, by batch", 1, many, starting.ours, ours, least=least),
        Entry("bare loop, by batch", 1, many, starting.bare, bare, least=least),
        Entry("ours, 2 workers", 2, one, starting.ours, ours, least=least),
        Entry("group, 2 members", 2, one, starting.group, group, least=least),
        Entry("default poll()", 1, one, starting.default, group, rounds=2),
        *(
            Entry(name, 1, "", starter, group, few=True, rounds=2)
            for name, starter in _frameworks(bench, starting).items()
        ),
    ]
    if bench.quick:
        return entries
    state = "records/s, with state"
    return [
        *entries,
        Entry("bare loops, 2 processes", 2, one, starting.bare, bare, rounds=2),
        Entry("ours, 4 workers", 4, one, starting.ours, ours, rounds=3),
        Entry("group, 4 members", 4, one, starting.group, group, rounds=3),
        Entry("bare loops, 4 processes", 4, one, starting.bare, bare, rounds=2),
        Entry("ours, 4 workers, by batch", 4, many, starting.ours, ours, rounds=2),
        Entry("group, 4 members, by batch", 4, many, starting.group, group, rounds=2),
        Entry("ours, per record", 1, "EachWithState", starting.ours, ours, metric=state, rounds=2),
        Entry("bare loop, per record", 1, "EachWithState", starting.bare, bare, metric=state, rounds=2),
        Entry("ours, by batch", 1, "ListWithState", starting.ours, ours, metric=state, rounds=2),
        Entry("bare loop, by batch", 1, "ListWithState", starting.bare, bare, metric=state, rounds=2),
    ]  # fmt: skip


def _frameworks(bench: Bench, starting: Starting) -> dict[str, Start]:
    """Those that install; that one does not is said."""
    found: dict[str, Start] = {}
    for name in () if bench.only_ours else ("quixstreams",) if bench.quick else frameworks.PACKAGES:
        try:
            found[frameworks.PACKAGES[name].replace("==", " ")] = starting.framework(name)
        except PartitionSupervisorError as error:
            bench.say(f"left out: {error}")
    return found


def _courses(bench: Bench, sizes: set[int]) -> dict[int, Course]:
    courses = {}
    for size in sorted(sizes):
        course = Course(f"race-{size}-{secrets.token_hex(3)}", size, RECORDS[size][bench.quick])
        bench.say(f"filling {size} x {course.records:,} records")
        fill(bench.bootstrap_servers, course.topic, size, course.records)
        courses[size] = course
    return courses


def _trials(entry: Entry, outcome: Outcome, number: int) -> Iterator[Trial]:
    facts: dict[str, float | int | str] = {
        "round": number + 1,
        "seconds": round(outcome.seconds, 3),
        "records": outcome.records,
        "replayed at most": round(outcome.rate * entry.window) if math.isfinite(entry.window) else "all",
        **{f"{name}, us/record": round(each, 3) for name, each in outcome.beside.items()},
    }
    yield Trial("throughput", entry.system, entry.metric, outcome.rate, "1/s", facts)
    cpu = entry.metric.replace("records/s", "cpu per record")
    yield Trial("throughput", entry.system, cpu, outcome.cpu, "us", {"round": number + 1})


def _replayed(bench: Bench, starting: Starting, course: Course) -> Iterator[Trial]:
    """Killed at a random moment of a commit interval: what was handled and is not covered by a commit."""
    for _ in range(1 if bench.quick else 3):
        for system, start, committed, interval in (
            ("ours, per record", starting.ours, starting.committed_by_ours, OUR_INTERVAL),
            ("group, 1 member", starting.group, starting.committed_by_group, GROUP_INTERVAL),
        ):
            if bench.only_ours and not system.startswith("ours"):
                continue
            with Race(1, course.records) as race:
                group = start(race, course, "Watched")
                race.wait_for("ready")
                time.sleep(0.5 + random.uniform(0, min(interval, 3.0)))  # the fault comes when it comes
                race.kill()
                handled, kept = race.handled(), committed(course, group)
            facts: dict[str, float | int | str] = {"handled": handled, "commit interval, s": interval}
            yield Trial("throughput", system, "replayed after kill -9", handled - kept, "records", facts)
