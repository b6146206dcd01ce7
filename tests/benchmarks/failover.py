"""A worker is killed with SIGKILL, at a random moment, while its partition is being read: how long until the next
record is handled by somebody else.

What takes milliseconds is measured a few trials at a time, one system after the other, round after round; only the
system whose turn it is gets records. What takes seconds waits most of the time, so many independent groups are
killed side by side: waiting costs no processor.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from partition_workers.errors import PartitionSupervisorError
from tests.benchmarks import etcd_load, groups
from tests.benchmarks.feeding import Feeding
from tests.benchmarks.frameworks import python_of
from tests.benchmarks.groups import Group, Kind
from tests.benchmarks.ours import Ours, fresh_topic
from tests.benchmarks.probe import Takeover
from tests.benchmarks.trials import Bench, Trial

#: Records a second in each partition, while a system is measured that takes milliseconds; then while many groups are
#: that take seconds.
RATE, SLOW_RATE = 500.0, 50.0

ANOTHER_HOST = "ours, 3 etcd members, standby on another host"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: trials in a round, and how many rounds; how many groups of a kind in each slow round, and
    of the kind by which we are judged."""

    rounds: int
    block: int
    main_block: int
    groups: int
    main_groups: int
    slow_rounds: int
    slowest: int


FULL = Scale(rounds=10, block=5, main_block=10, groups=5, main_groups=5, slow_rounds=2, slowest=10)
QUICK = Scale(rounds=1, block=3, main_block=12, groups=2, main_groups=5, slow_rounds=1, slowest=0)


def measure(bench: Bench) -> Iterator[Trial]:
    scale = QUICK if bench.quick else FULL
    until = time.monotonic() + bench.seconds
    with Feeding(bench.bootstrap_servers) as feeding:
        if not bench.only_ours:
            yield from _slow(bench, feeding, scale)
        with ExitStack() as stack:
            ours, rivals = _start(bench, feeding, stack)
            for number in range(scale.rounds):
                if number and time.monotonic() > until - 20:
                    bench.say(f"failover: {number} of {scale.rounds} rounds, the time is over")
                    break
                bench.say(f"failover: round {number + 1} of {scale.rounds}, workers and members killed one by one")
                for cluster in ours:
                    yield from etcd_load.writes("failover", bench.etcd_endpoints)
                    yield from _block(cluster, scale.main_block if cluster.name == ANOTHER_HOST else scale.block)
                for group in rivals:
                    yield from _static_block(group, scale.block)


# --- ours ------------------------------------------------------------------------------------------------------


def _start(bench: Bench, feeding: Feeding, stack: ExitStack) -> tuple[list[Ours], list[Group]]:
    three, one = bench.etcd_endpoints, bench.single_etcd_endpoint
    wanted = (
        (ANOTHER_HOST, three, ("a", "b"), 2),
        ("ours, 3 etcd members, standby on the same host", three, ("a",), 2),
        ("ours, 1 etcd member, standby on another host", one, ("a", "b"), 2),
        ("ours, 3 etcd members, no standby", three, ("a",), 1),
    )
    ours = [
        stack.enter_context(
            Ours(name, bench.bootstrap_servers, etcd, feeding, fresh_topic(bench.bootstrap_servers), hosts, copies)
        )
        for name, etcd, hosts, copies in wanted
    ]
    rivals = []
    if not bench.only_ours:
        rivals.append(stack.enter_context(_group(groups.STATIC, bench, feeding)))
    for cluster in ours:
        cluster.wait_until_complete()
    return ours, rivals


def _block(cluster: Ours, count: int) -> Iterator[Trial]:
    """Some trials in a row, while the cluster gets records."""
    cluster.feed(RATE)
    cluster.wait_until_read()
    trials = [_kill_worker(cluster) for _ in range(count)]
    whole = cluster.facts(cluster.rest())
    for gap, facts in trials:
        yield Trial("failover", cluster.name, "gap", gap, "ms", facts | whole)


def _kill_worker(cluster: Ours) -> tuple[float, dict[str, float | int | str]]:
    cluster.wait_until_complete()
    number = random.randrange(groups.PARTITIONS)
    lock, token = cluster.owners()[number]
    time.sleep(random.uniform(0.3, 0.8))  # the random moment; and the machine is at rest again
    cluster.probe.forget()
    wall, at = time.time(), time.monotonic_ns()
    os.kill(lock.pid, signal.SIGKILL)
    time.sleep(0.3)  # whoever looks now takes the processor from those who are measured
    found = cluster.probe.await_takeover(cluster.name, number, at, lock.pid, 30.0)
    cluster.wait_until_complete()
    return found.gap, found.facts | cluster.phases(number, token, wall)


# --- groups ----------------------------------------------------------------------------------------------------


def _group(kind: Kind, bench: Bench, feeding: Feeding) -> Group:
    return Group(kind, bench.bootstrap_servers, feeding, fresh_topic(bench.bootstrap_servers))


def _static_block(group: Group, count: int) -> Iterator[Trial]:
    """A dead member's replacement has its name, so the coordinator gives it what the dead one had."""
    group.feed(RATE)
    group.wait_until_complete()
    trials = []
    for _ in range(count):
        number = random.randrange(groups.PARTITIONS)
        time.sleep(random.uniform(1.3, 1.8))
        victim = group.owners()[number]
        wait = _kill_member(group, number, victim)
        time.sleep(0.3)
        trials.append(wait())
    whole = group.facts(group.rest())
    for found in trials:
        yield Trial("failover", group.kind.name, "gap", found.gap, "ms", found.facts | whole)


def _kill_member(group: Group, number: int, victim: int) -> partial[Takeover]:
    """Kill it now; what is returned waits for the takeover."""
    group.probe.forget()
    at = time.monotonic_ns()
    os.kill(victim, signal.SIGKILL)
    return partial(group.probe.await_takeover, group.kind.name, number, at, victim, _patience(group.kind))


def _patience(kind: Kind) -> float:
    """Seconds after which a group is not waited for any more."""
    return 3 * kind.session + 20


def _slow(bench: Bench, feeding: Feeding, scale: Scale) -> Iterator[Trial]:
    kinds = [groups.RANGE, groups.COOPERATIVE, groups.KIP_848]
    if not bench.quick:
        kinds.append(groups.RANGE_1_S)
    kinds += _quixstreams(bench)
    for number in range(scale.slow_rounds):
        chosen = [k for k in kinds for _ in range(scale.main_groups if k is groups.RANGE else scale.groups)]
        bench.say(f"failover: {len(chosen)} groups of {len(kinds)} kinds, killed side by side"
                  f" ({number + 1} of {scale.slow_rounds})")  # fmt: skip
        yield from _side_by_side(bench, feeding, chosen)
    if scale.slowest:
        bench.say("failover: groups with sessions of 45 s")
        defaults = [groups.RANGE_DEFAULTS, groups.KIP_848_DEFAULTS]
        yield from _side_by_side(bench, feeding, [kind for kind in defaults for _ in range(scale.slowest)])
    else:
        bench.say("failover: groups with sessions of 45 s are left out of the quick run")


def _quixstreams(bench: Bench) -> list[Kind]:
    try:
        return [groups.quixstreams(python_of("quixstreams", bench.say))]
    except PartitionSupervisorError as error:
        bench.say(f"failover: quixstreams does not install here, so it is left out: {error}")
        return []


def _side_by_side(bench: Bench, feeding: Feeding, kinds: Sequence[Kind]) -> Iterator[Trial]:
    """One trial of each group, all at about the same time."""
    with ExitStack() as stack:
        started = [stack.enter_context(_group(kind, bench, feeding)) for kind in kinds]
        for group in started:
            group.feed(SLOW_RATE)
        ready = [group for group in started if _is_complete(bench, group)]
        time.sleep(2.0)  # the last commits of a rebalance, and quiet
        waiting = []
        for group in random.sample(ready, len(ready)):
            number = random.randrange(groups.PARTITIONS)
            time.sleep(random.uniform(0.0, 0.2))  # each at another phase of its heartbeat
            waiting.append((group, _kill_member(group, number, group.owners()[number])))
        for group, wait in waiting:  # what happened to the later ones meanwhile stands in their notes
            try:
                found = wait()
                gap, facts = found.gap, found.facts
            except TimeoutError as error:
                gap, facts = _patience(group.kind) * 1000, {"at least": str(error)}
            yield Trial("failover", group.kind.name, "gap", gap, "ms", facts | group.facts(group.rest()))


def _is_complete(bench: Bench, group: Group) -> bool:
    """One that does not get there is no reason to measure none."""
    try:
        group.wait_until_complete(deadline=90.0)
    except TimeoutError as error:
        bench.say(f"failover: left out: {error}")
        return False
    return True
