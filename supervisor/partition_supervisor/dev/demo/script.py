"""The demo without a terminal: three faults, what each cost, and whether a record was lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import PHASES, Gap, Verdict, wait_for
from partition_workers.model import Partition

Say = Callable[[str], None]

#: Seconds of undisturbed work before each fault.
QUIET = 1.5


def play(cluster: DemoCluster, say: Say) -> bool:
    """Break things, report, judge. True when nothing was lost, doubled or out of order."""
    _kill_owner(cluster, say)
    _kill_host(cluster, say)
    _kill_supervisor(cluster, say)
    say("\nThe end: the producer stops, the rest is processed, and states are compared with what was produced.")
    verdicts = cluster.finish()
    report(verdicts, say)
    return all(each.is_good for each in verdicts)


def report(verdicts: list[Verdict], say: Say) -> None:
    say(f"\n{'partition':<14}{'produced':>10}{'counted':>10}{'lost':>8}{'doubled':>9}  order")
    for each in verdicts:
        order = "kept" if each.in_order else "BROKEN"
        say(f"{each.partition!s:<14}{each.produced:>10,}{each.counted:>10,}{each.lost:>8}{each.doubled:>9}  {order}")
    lost, doubled = sum(each.lost for each in verdicts), sum(each.doubled for each in verdicts)
    say(f"\n{lost} lost, {doubled} doubled, {sum(not each.in_order for each in verdicts)} partitions out of order")


def _kill_owner(cluster: DemoCluster, say: Say) -> None:
    time.sleep(QUIET)
    owners, tokens = cluster.judge.owners_and_tokens()
    partition, owner = random.choice(sorted(owners.items()))
    say(f"\n1. A worker dies: kill -9 {owner.pid}, the owner of {partition} on {owner.host}.")
    at = time.time()
    host = cluster.hosts[owner.host]
    next(each for each in host.processes() if each.pid == owner.pid).kill()
    _show(_gaps(cluster, {partition: tokens[partition]}, at), say)
    cluster.wait_until_complete()
    say("   A fresh standby has taken the dead worker's place.")


def _kill_host(cluster: DemoCluster, say: Say) -> None:
    time.sleep(QUIET)
    host, partitions = _busiest(cluster)
    owned = ", ".join(map(str, sorted(partitions)))
    say(f"\n2. A whole host dies: {host}, its supervisor and workers at once; it owned {owned}.")
    say("   Its kernel closes its connections, and that is how the other host notices.")
    at = cluster.hosts[host].kill()
    _show(_gaps(cluster, partitions, at), say)
    cluster.hosts[host].start()
    cluster.wait_until_complete()
    say(f"   {host} is back, with a standby for each partition.")


def _kill_supervisor(cluster: DemoCluster, say: Say) -> None:
    time.sleep(QUIET)
    host, partitions = _busiest(cluster)
    owned = ", ".join(map(str, sorted(partitions)))
    say(f"\n3. A supervisor dies alone: kill -9 {cluster.hosts[host].pid}, that of {host}; its workers own {owned}.")
    say("   They see it, finish the record in hand, commit, and release.")
    at = cluster.hosts[host].kill_supervisor()
    _show(_gaps(cluster, partitions, at), say)
    wait_for("the workers of a dead supervisor have ended", lambda: not cluster.hosts[host].processes(), 10.0)
    cluster.hosts[host].start()
    cluster.wait_until_complete()
    say(f"   {host} is back.")


def _busiest(cluster: DemoCluster) -> tuple[str, dict[Partition, int]]:
    """The host that owns most, and the tokens of what it owns."""
    owners, tokens = cluster.judge.owners_and_tokens()
    hosts = [owner.host for owner in owners.values()]
    host = max(cluster.hosts, key=hosts.count)
    return host, {p: tokens[p] for p, owner in owners.items() if owner.host == host}


def _gaps(cluster: DemoCluster, tokens: dict[Partition, int], at: float) -> list[Gap]:
    found: dict[Partition, Gap] = {}

    def all_found() -> bool:
        for partition, token in tokens.items():
            gap = cluster.judge.gap(partition, token, at)
            if gap is not None:
                found[partition] = gap
        return len(found) == len(tokens)

    wait_for(f"a new owner has handled a record of {', '.join(map(str, tokens))}", all_found, 30.0)
    return [found[partition] for partition in sorted(found)]


def _show(gaps: list[Gap], say: Say) -> None:
    columns = list(PHASES.values())
    say(f"   {'milliseconds until':<24}" + "".join(f"{name:>14}" for name in columns))
    for gap in gaps:
        cells = "".join(f"{gap.phases[name]:>14.1f}" if name in gap.phases else f"{'-':>14}" for name in columns)
        say(f"   {f'{gap.partition} -> {gap.host}':<24}{cells}")
