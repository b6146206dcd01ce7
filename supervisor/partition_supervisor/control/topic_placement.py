"""The plan where hosts were started with different topics: a partition goes only to hosts that have its topic.

Partitions that the same hosts can have are planned together, those with the fewest such hosts first; each plan gets
the places that those before it have left. What no owner needs is then divided among them, for standbys.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

from partition_supervisor.control.placement import Plan, plan
from partition_supervisor.control.shares import ALL_FIT, Unfit
from partition_workers.model import Partition


def plan_by_topics(
    hosts: Mapping[str, int],
    topics: Mapping[str, Set[str]],
    partitions: Sequence[Partition],
    owners: Mapping[Partition, str],
    standbys: Mapping[Partition, Sequence[str]],
    moves: Mapping[Partition, str] | None = None,
    held: bool = False,
    unfit: Unfit = ALL_FIT,
) -> Plan:
    """As `placement.plan`; `topics`: those that each host has, and hosts that are not in it have them all."""
    able_of = {
        topic: tuple(sorted(host for host in hosts if host not in topics or topic in topics[host]))
        for topic in {partition.topic for partition in partitions}
    }
    if all(len(able) == len(hosts) for able in able_of.values()):
        return plan(hosts, partitions, owners, standbys, moves, held, unfit)
    alike: dict[tuple[str, ...], list[Partition]] = defaultdict(list)
    for partition in sorted(partitions):
        alike[able_of[partition.topic]].append(partition)
    in_turn = sorted(alike.items(), key=lambda each: (len(each[0]), each[0]))
    left = dict(hosts)
    owning: dict[Partition, str] = {}
    for able, some in in_turn:
        found = plan({host: left[host] for host in able}, some, owners, standbys, moves, held, unfit)
        owning |= found.owners
        for host, count in Counter(found.owners.values()).items():
            left[host] -= count
    left |= dict.fromkeys(unfit.drained & left.keys(), 0)
    waiting: dict[Partition, tuple[str, ...]] = {}
    for turn, (able, some) in enumerate(in_turn):
        own = {partition: owning[partition] for partition in some if partition in owning}
        owned = Counter(own.values())
        room = {host: _part(host, left[host], in_turn[turn:]) for host in able}
        for host in able:
            left[host] -= room[host]
        places = {host: owned[host] + room[host] for host in able}
        waiting |= plan(places, list(own), own, standbys, held=True).standbys
    return Plan(owning, waiting, tuple(each for each in sorted(partitions) if each not in owning))


def _part(host: str, room: int, waiting: Sequence[tuple[tuple[str, ...], list[Partition]]]) -> int:
    """How many of the places that a host has left the first of those that wait for some gets, by how many it has."""
    concerned = [len(some) for able, some in waiting if host in able]
    return room * concerned[0] // sum(concerned)
