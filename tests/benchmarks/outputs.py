"""Outputs: from a topic to a topic, exactly once. Records a second, and how long an owner's death is felt.

What is beside ours: a plain loop that reads, and commits what it produces and its offset in one transaction of
Kafka, with the same handler and as often as ours, equally tuned; and quixstreams and faust, exactly once and at least
once. The rate is that at which records are handled; what is not committed by then is less than two commits' worth.

A death is felt twice: until the next record of the partition is handled, and until a read_committed reader of the
output sees one of those that come next. For groups that is when the dead member's session is over, and when its
transaction is; both are six seconds here, and 45 and 60 unless somebody sets them.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from partition_supervisor.dev.demo.load import create_topic
from partition_workers.errors import PartitionSupervisorError
from tests.benchmarks import etcd_load, frameworks, groups, handling
from tests.benchmarks.budgets import FEWEST
from tests.benchmarks.feeding import Feeding
from tests.benchmarks.filling import fill
from tests.benchmarks.groups import Group, Kind
from tests.benchmarks.ours import Ours, fresh_topic
from tests.benchmarks.racing import Race, listening
from tests.benchmarks.starting import Course, Starting
from tests.benchmarks.trials import Bench, Trial
from tests.benchmarks.watching import Watching

#: Partitions of the output, so that keys have a choice, and how many keys there are.
WIDTH, KEYS = 4, 1000
#: Records that are handled, in full and quick: by ours and the loop; by a framework, which commits every 5 s.
RECORDS, FEW = (800_000, 300_000), (200_000, 60_000)
#: Records a second in each partition while owners are killed.
RATE, SLOW_RATE = 500.0, 50.0
#: The share of the time that goes to races.
RACING = 0.6

_OUTPUT = "PARTITION_SUPERVISOR_OUTPUT"


@dataclass(frozen=True, slots=True)
class Entry:
    system: str
    handler: str
    start: Callable[[Race, Course, str], str]
    rival: bool = False
    """A framework: slow, and left out when it does not run with this Kafka."""
    rounds: int = 1_000
    """It is left out of later ones."""


def measure(bench: Bench) -> Iterator[Trial]:
    begun = time.monotonic()
    yield from _races(bench, begun + RACING * bench.seconds)
    yield from _deaths(bench, begun + bench.seconds)


# --- records a second -------------------------------------------------------------------------------------------


def _races(bench: Bench, until: float) -> Iterator[Trial]:
    """Everybody, in turns, until the time is over; of what is compared at the least so many that a ratio counts."""
    records, few = RECORDS[bench.quick], FEW[bench.quick]
    course, out = Course(f"race-{secrets.token_hex(3)}", 1, records), f"race-out-{secrets.token_hex(3)}"
    bench.say(f"filling {records:,} records")
    fill(bench.bootstrap_servers, course.topic, 1, records, KEYS)
    create_topic(bench.bootstrap_servers, out, WIDTH)
    entries = _entries(bench, Starting(bench), out)
    servers = {"kafka": listening(bench.bootstrap_servers), "etcd": listening(bench.etcd_endpoints)}
    took: dict[str, float] = {}
    for number in range(1_000):
        raced = False
        here = [each for each in entries if number < each.rounds]
        for each in here if number % 2 == 0 else reversed(here):
            at = time.monotonic()
            if number >= FEWEST and at + took.get(each.system, 0.0) > until:
                continue
            try:
                with Race(1, few if each.rival else records, output=out) as race:
                    each.start(race, course, each.handler)
                    outcome = race.run(servers)
            except (RuntimeError, TimeoutError) as error:
                if not each.rival:
                    raise
                bench.say(f"left out, because it does not run here: {each.system}: {error}")
                entries.remove(each)
                continue
            facts: dict[str, float | int | str] = {
                "round": number + 1, "seconds": round(outcome.seconds, 3), "records": outcome.records,
                **{f"{name}, us/record": round(used, 3) for name, used in outcome.beside.items()},
            }  # fmt: skip
            yield Trial("outputs", each.system, "records/s", outcome.rate, "1/s", facts)
            yield Trial("outputs", each.system, "cpu per record", outcome.cpu, "us", {"round": number + 1})
            raced, took[each.system] = True, time.monotonic() - at
        if not raced:
            break


def _entries(bench: Bench, starting: Starting, out: str) -> list[Entry]:
    def ours(race: Race, course: Course, handler: str) -> str:
        return starting.ours(race, course, handler, ("--output", out))

    def acknowledged(race: Race, course: Course, handler: str) -> str:
        return starting.ours(race, course, handler, ("--output", out, "--output-guarantee", "at-least-once"))

    more = 2 if bench.quick else 1_000
    entries = [
        Entry("ours, per record", "Forward", ours),
        Entry("transactional loop, per record", "Forward", starting.transactional),
        Entry("ours, by batch", "ForwardLists", ours, rounds=more),
        Entry("transactional loop, by batch", "ForwardLists", starting.transactional, rounds=more),
        Entry("ours, at least once", "Forward", acknowledged, rounds=1 if bench.quick else FEWEST),
    ]
    if bench.only_ours:
        return [each for each in entries if each.system.startswith("ours")]
    once = 1 if bench.quick else 3
    for name, guarantee, rounds in (
        ("quixstreams", "exactly-once", FEWEST),
        ("quixstreams", "at-least-once", once),
        ("faust", "exactly-once", once),
        ("faust", "at-least-once", once),
    ):
        title = frameworks.PACKAGES[name].replace("==", " ")
        try:
            start = starting.framework(name, to=out, guarantee=guarantee)
            entries.append(Entry(f"{title}, {guarantee}", "", start, rival=True, rounds=rounds))
        except PartitionSupervisorError as error:
            bench.say(f"left out: {error}")
    return entries


# --- deaths -----------------------------------------------------------------------------------------------------


def _deaths(bench: Bench, until: float) -> Iterator[Trial]:
    with Feeding(bench.bootstrap_servers) as feeding:
        if not bench.only_ours:
            yield from _side_by_side(bench, feeding)
        yield from _killed_owners(bench, feeding, until)
        if not bench.only_ours and not bench.quick:
            yield from _restarted_members(bench, feeding)


def _output(bench: Bench) -> str:
    """A topic with as many partitions as the input."""
    return fresh_topic(bench.bootstrap_servers)


def _killed_owners(bench: Bench, feeding: Feeding, until: float) -> Iterator[Trial]:
    out = _output(bench)
    with ExitStack() as stack:
        cluster = stack.enter_context(
            Ours(
                "ours, exactly once", bench.bootstrap_servers, bench.etcd_endpoints, feeding,
                fresh_topic(bench.bootstrap_servers), options=("--rebalance-delay", "3600", "--output", out),
                handler=f"{Path(handling.__file__)}:forward", environment={_OUTPUT: out},
            )
        )  # fmt: skip
        reader = stack.enter_context(Watching(bench.bootstrap_servers, out, groups.PARTITIONS))
        cluster.wait_until_complete()
        trials: list[Trial] = []
        for number in range(10 if bench.quick else 60):
            if number % 10 == 0:
                yield from etcd_load.writes("outputs", bench.etcd_endpoints)
                cluster.feed(RATE)
                cluster.wait_until_read()
            if number >= FEWEST and time.monotonic() > until:
                break
            trials += _kill_owner(cluster, reader)
        produced = cluster.rest()
        whole = cluster.facts(produced) | reader.facts(produced)
    yield from _with_facts(trials, whole)


def _kill_owner(cluster: Ours, reader: Watching) -> list[Trial]:
    cluster.wait_until_complete()
    number = random.randrange(groups.PARTITIONS)
    lock, token = cluster.owners()[number]
    time.sleep(random.uniform(0.3, 0.8))  # the random moment; and the machine is at rest again
    cluster.probe.forget()
    reader.forget()
    wall, at = time.time(), time.monotonic_ns()
    os.kill(lock.pid, signal.SIGKILL)
    time.sleep(0.3)  # whoever looks now takes the processor from those who are measured
    found = cluster.probe.await_takeover(cluster.name, number, at, lock.pid, 30.0)
    seen = reader.await_takeover(cluster.name, number, at, lock.pid, 30.0)
    phases = cluster.phases(number, token, wall)
    return [
        Trial("outputs", cluster.name, "gap", found.gap, "ms", found.facts | phases),
        Trial("outputs", cluster.name, "gap for a read_committed reader", seen.gap, "ms"),
    ]


def _side_by_side(bench: Bench, feeding: Feeding) -> Iterator[Trial]:
    """One member of each group is killed, all at about the same time: what takes seconds costs no processor."""
    kinds = [groups.TRANSACTIONAL] * (3 if bench.quick else 5)
    try:
        python = frameworks.python_of("quixstreams", bench.say)
        kinds += [groups.quixstreams_exactly_once(python)] * (2 if bench.quick else 3)
    except PartitionSupervisorError as error:
        bench.say(f"left out: {error}")
    with ExitStack() as stack:
        started = [_start_group(stack, bench, feeding, kind) for kind in kinds]
        for group, _reader in started:
            group.feed(SLOW_RATE)
        for group, _reader in started:
            group.wait_until_complete(deadline=90.0)
        time.sleep(2.0)  # the last commits of a rebalance, and quiet
        killed = []
        for group, reader in started:
            time.sleep(random.uniform(0.0, 0.2))
            killed.append((group, reader, *_kill_member(group, reader)))
        felt = [_felt(*each) for each in killed]
        for (group, reader, *_), trials in zip(killed, felt, strict=True):
            yield from _with_facts(trials, reader.facts(group.rest()))


def _restarted_members(bench: Bench, feeding: Feeding) -> Iterator[Trial]:
    """The dead member's replacement has its name, and so its partitions and its transactional.id."""
    with ExitStack() as stack:
        group, reader = _start_group(stack, bench, feeding, groups.TRANSACTIONAL_STATIC)
        group.feed(RATE)
        group.wait_until_complete()
        trials = []
        for _ in range(FEWEST):
            time.sleep(random.uniform(1.3, 1.8))
            number, at, victim = _kill_member(group, reader)
            time.sleep(0.3)
            trials += _felt(group, reader, number, at, victim)
        yield from _with_facts(trials, reader.facts(group.rest()))


def _start_group(stack: ExitStack, bench: Bench, feeding: Feeding, kind: Kind) -> tuple[Group, Watching]:
    out = _output(bench)
    group = Group(kind, bench.bootstrap_servers, feeding, fresh_topic(bench.bootstrap_servers), to=out)
    stack.enter_context(group)
    return group, stack.enter_context(Watching(bench.bootstrap_servers, out, groups.PARTITIONS))


def _kill_member(group: Group, reader: Watching) -> tuple[int, int, int]:
    """Now. Which partition it had, when, and which pid."""
    number = random.randrange(groups.PARTITIONS)
    victim = group.owners()[number]
    group.probe.forget()
    reader.forget()
    at = time.monotonic_ns()
    os.kill(victim, signal.SIGKILL)
    return number, at, victim


def _felt(group: Group, reader: Watching, number: int, at: int, victim: int) -> list[Trial]:
    name, patience = group.kind.name, 3 * group.kind.session + 20
    found = group.probe.await_takeover(name, number, at, victim, patience)
    seen = reader.await_takeover(name, number, at, victim, patience)
    return [
        Trial("outputs", name, "gap", found.gap, "ms", found.facts),
        Trial("outputs", name, "gap for a read_committed reader", seen.gap, "ms"),
    ]


def _with_facts(trials: list[Trial], facts: dict[str, float | int | str]) -> Iterator[Trial]:
    """Of the whole run."""
    for each in trials:
        yield replace(each, facts=each.facts | facts)
