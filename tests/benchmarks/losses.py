"""What a supervisor cannot see from beside its workers: a whole host is killed or lost, the supervisor itself is, an
owner is paused for longer than its lease and wakes up.

A host that is killed is noticed by the others, because its kernel ends their connections. A machine that is lost says
nothing, as without power; so does one whose processes are all stopped, which is how it is made here, and killed when
that was seen. That and a pause wait for silence, a lease or a session to end. So clusters of ours and groups, each
with a fault of its own, are struck at about the same time and waited for together. A paused process is woken after
nine seconds, and what it does then is counted: the records that it handles although somebody else has them by now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.judge import wait_for
from tests.benchmarks import etcd_load, groups
from tests.benchmarks.feeding import Feeding
from tests.benchmarks.groups import Group, Kind
from tests.benchmarks.ours import Ours, fresh_topic
from tests.benchmarks.probe import Probe, handled_by, silence
from tests.benchmarks.trials import Bench, Trial

#: Seconds of a pause: longer than our lease (5 s) and the groups' sessions (6 s).
PAUSE = 9.0
#: Records a second in each partition: while seconds are measured, and milliseconds.
SLOW_RATE, RATE = 50.0, 500.0

HOST_KILLED, MACHINE_LOST, OWNER_PAUSED, HOST_PAUSED = "host killed", "machine lost", "owner paused", "host paused"
#: Each alone.
QUICK_FAULTS: dict[str, Callable[[Host], float]] = {
    "supervisor killed": Host.kill_supervisor,
    HOST_KILLED: Host.kill,
}
#: Those of ours that are waited for together.
SLOW_FAULTS = (MACHINE_LOST, OWNER_PAUSED, HOST_PAUSED)

Facts = dict[str, float | int | str]


@dataclasses.dataclass(slots=True)
class Struck:
    """A partition whose owner was hit at `at` (CLOCK_MONOTONIC, nanoseconds)."""

    system: str
    probe: Probe
    partition: int
    before: int
    at: int
    wake: Callable[[], object] | None = None
    end: Callable[[], object] | None = None
    woken_at: int = 0
    more: Callable[[], Facts] = dict


def measure(bench: Bench) -> Iterator[Trial]:
    until = time.monotonic() + bench.seconds
    copies = 1 if bench.quick else 2
    faults = list(SLOW_FAULTS) * copies
    with Feeding(bench.bootstrap_servers) as feeding, ExitStack() as stack:
        ours = [
            stack.enter_context(
                Ours(
                    f"ours {number}", bench.bootstrap_servers, bench.etcd_endpoints, feeding,
                    fresh_topic(bench.bootstrap_servers),
                    options=("--rebalance-delay", "3600"),
                )
            )
            for number in range(len(faults))
        ]  # fmt: skip
        for cluster in ours:
            cluster.wait_until_complete()
        took, number = 0.0, 0
        while number == 0 or (not bench.quick and time.monotonic() + took < until):
            number, begun = number + 1, time.monotonic()
            bench.say(f"losses: round {number}: machines lost, owners and hosts paused, all side by side")
            yield from _side_by_side(bench, feeding, list(zip(ours, faults, strict=True)), copies)
            bench.say(f"losses: round {number}: supervisors and hosts killed, one after the other")
            for fault in QUICK_FAULTS:
                yield from etcd_load.writes("losses", bench.etcd_endpoints)
                for cluster in ours:
                    yield from _kill(cluster, fault)
            if number == 1 and not bench.only_ours:
                yield from _kill_parent(bench, feeding)
            took = time.monotonic() - begun


# --- a supervisor alone, or all processes of a host -------------------------------------------------------------


def _kill(cluster: Ours, fault: str) -> Iterator[Trial]:
    cluster.wait_until_complete()
    cluster.feed(RATE)
    cluster.wait_until_read()
    name, owned = _busiest(cluster)
    host = cluster.cluster.hosts[name]
    time.sleep(random.uniform(0.3, 0.8))
    cluster.probe.forget()
    wall = QUICK_FAULTS[fault](host)
    at = time.monotonic_ns() - int((time.time() - wall) * 1e9)
    time.sleep(0.4)
    found = {
        number: cluster.probe.await_takeover(cluster.name, number, at, pid, 30.0)
        for number, (pid, _) in owned.items()
    }
    wait_for("the workers of a dead supervisor have ended", lambda: not host.processes(), 10.0)
    whole = cluster.facts(cluster.rest())
    for number, each in found.items():
        facts = each.facts | cluster.phases(number, owned[number][1], wall) | whole
        yield Trial("losses", f"ours, {fault}", "gap", each.gap, "ms", facts)
    host.start()  # it comes back when the lease of its name has ended; meanwhile others are measured


def _busiest(cluster: Ours) -> tuple[str, dict[int, tuple[int, int]]]:
    """The host that owns most: pid and token of each partition that it owns."""
    owners = cluster.owners()
    hosts = [lock.host for lock, _ in owners.values()]
    name = max(sorted(set(hosts)), key=hosts.count)
    return name, {number: (lock.pid, token) for number, (lock, token) in owners.items() if lock.host == name}


def _kill_parent(bench: Bench, feeding: Feeding) -> Iterator[Trial]:
    """What starts the members of a group is not needed while they live: the gap is the longest silence."""
    topic = fresh_topic(bench.bootstrap_servers)
    with Group(groups.STATIC, bench.bootstrap_servers, feeding, topic) as group:
        group.feed(RATE)
        group.wait_until_complete()
        time.sleep(1.0)
        group.probe.forget()
        at = time.monotonic_ns()
        os.kill(group.hosts[0].process.pid, signal.SIGKILL)
        time.sleep(1.0)
        notes = group.probe.look()
        whole = group.facts(group.rest())
        for number in range(groups.PARTITIONS):
            value = silence(notes, number, at, at + 1_000_000_000)
            yield Trial("losses", "group, parent killed", "gap", value, "ms", whole)


# --- what waits for a lease or a session --------------------------------------------------------------------------


def _side_by_side(bench: Bench, feeding: Feeding, ours: list[tuple[Ours, str]], copies: int) -> Iterator[Trial]:
    random.shuffle(ours)
    with ExitStack() as stack:
        rivals = [] if bench.only_ours else _groups(bench, feeding, stack, copies)
        for cluster, _ in ours:
            cluster.wait_until_complete()
            cluster.feed(SLOW_RATE)
        for group, _ in rivals:
            group.wait_until_complete()
        time.sleep(2.0)
        strikes = [(cluster, _strike(cluster, fault)) for cluster, fault in ours]
        rival_strikes = [(group, _strike_group(group, fault)) for group, fault in rivals]
        struck = [each for _, several in (*strikes, *rival_strikes) for each in several]
        _wake(struck)
        for cluster, several in strikes:
            found = [_judge(each) for each in several]
            for each in several:
                if each.end:
                    each.end()
            for host in cluster.cluster.hosts.values():
                if not host.is_running:
                    host.start()
            whole = cluster.facts(cluster.rest())
            for trials in found:
                yield from (dataclasses.replace(each, facts=each.facts | whole) for each in trials)
        for group, several in rival_strikes:
            found = [_judge(each) for each in several]
            whole = group.facts(group.rest())
            for trials in found:
                yield from (dataclasses.replace(each, facts=each.facts | whole) for each in trials)


def _groups(bench: Bench, feeding: Feeding, stack: ExitStack, copies: int) -> list[tuple[Group, str]]:
    wanted = [
        (kind, fault)
        for kind in (groups.RANGE, groups.COOPERATIVE, groups.KIP_848)
        for fault in (HOST_KILLED, OWNER_PAUSED)
        for _ in range(copies)
    ]
    started = [(stack.enter_context(_two_hosts(kind, bench, feeding)), fault) for kind, fault in wanted]
    for group, _ in started:
        group.feed(SLOW_RATE)
    return started


def _two_hosts(kind: Kind, bench: Bench, feeding: Feeding) -> Group:
    return Group(kind, bench.bootstrap_servers, feeding, fresh_topic(bench.bootstrap_servers), hosts=2)


def _strike(cluster: Ours, fault: str) -> list[Struck]:
    time.sleep(random.uniform(0.0, 0.2))
    name, owned = _busiest(cluster)
    host = cluster.cluster.hosts[name]
    refused = host.log.read_text().count("was refused")

    def facts() -> Facts:
        return {"refused commits": host.log.read_text().count("was refused") - refused}

    cluster.probe.forget()
    at = time.monotonic_ns()
    wake: Callable[[], object] | None = None
    end: Callable[[], object] | None = None
    if fault == MACHINE_LOST:
        host.signal_all(signal.SIGSTOP)
        end = host.kill
    elif fault == HOST_PAUSED:
        host.signal_all(signal.SIGSTOP)
        wake = lambda: host.signal_all(signal.SIGCONT)  # noqa: E731
    else:
        number, (pid, token) = random.choice(sorted(owned.items()))
        owned = {number: (pid, token)}
        os.kill(pid, signal.SIGSTOP)
        wake = lambda: _continue(pid)  # noqa: E731
    return [
        Struck(f"ours, {fault}", cluster.probe, number, pid, at, wake, end, more=facts)
        for number, (pid, _) in owned.items()
    ]


def _strike_group(group: Group, fault: str) -> list[Struck]:
    time.sleep(random.uniform(0.0, 0.2))
    group.probe.forget()
    number, pid = random.choice(sorted(group.owners().items()))
    at = time.monotonic_ns()
    system = f"{group.kind.name}, {fault}"
    if fault == OWNER_PAUSED:
        os.kill(pid, signal.SIGSTOP)
        return [Struck(system, group.probe, number, pid, at, lambda: _continue(pid))]
    host = group.host_of(pid)
    owned = {each: owner for each, owner in group.owners().items() if owner in host.members.values()}
    at = time.monotonic_ns()
    host.signal_all(signal.SIGKILL)
    return [Struck(system, group.probe, each, owner, at) for each, owner in owned.items()]


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # its supervisor did not wait for it
        os.kill(pid, signal.SIGCONT)


def _wake(struck: list[Struck]) -> None:
    """Each pause is of the same length; then all have two seconds to show what they do."""
    for each in struck:
        if each.wake:
            time.sleep(max(0.0, each.at / 1e9 + PAUSE - time.monotonic()))
            each.woken_at = time.monotonic_ns()
            each.wake()
    time.sleep(2.0)


def _judge(struck: Struck) -> list[Trial]:
    found = struck.probe.await_takeover(struck.system, struck.partition, struck.at, struck.before, 40.0)
    notes = struck.probe.look()
    facts = found.facts | struck.more()
    trials = [Trial("losses", struck.system, "gap", found.gap, "ms", facts)]
    if struck.wake:
        stale = handled_by(notes, struck.before, struck.woken_at)
        others = {(each.partition, each.sequence) for each in notes if each.pid != struck.before}
        metric = "handled after waking, and by another"
        facts |= {"handled after waking": len(stale)}
        trials.append(Trial("losses", struck.system, metric, len(stale & others), "records", facts))
    return trials
