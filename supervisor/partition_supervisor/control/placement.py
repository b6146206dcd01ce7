"""Who should own which partition, and where its standbys should wait: a pure function, the same on every host.

Every supervisor computes it from the same keys in etcd and gets the same answer, so nobody has to be elected and
nobody has to be asked. It is advice: the lock is law, and failover never waits for a plan.

Owners are spread in proportion to the hosts' places, and as few partitions move as that allows: a host keeps what
it owns up to its share. What places are left become standbys, on other hosts than the owner's first. With more
partitions than places, those that somebody owns stay, then the first by name; the rest is left out, by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from partition_supervisor.control.owner_placement import NOBODY, choose_owners
from partition_supervisor.control.shares import ALL_FIT, Unfit, shares_of_fit
from partition_supervisor.control.standby_placement import place_standbys
from partition_workers.model import Partition


@dataclass(frozen=True, slots=True)
class Plan:
    """`standbys` lists a host once for each standby it should run; `left_out`: there is no place for them."""

    owners: dict[Partition, str]
    standbys: dict[Partition, tuple[str, ...]]
    left_out: tuple[Partition, ...]

    def workers_on(self, host: str) -> dict[Partition, int]:
        """How many workers `host` should run for each partition."""
        wanted = {partition: 1 for partition, owner in self.owners.items() if owner == host}
        for partition, hosts in self.standbys.items():
            if host in hosts:
                wanted[partition] = wanted.get(partition, 0) + hosts.count(host)
        return wanted


def plan(
    hosts: Mapping[str, int],
    partitions: Sequence[Partition],
    owners: Mapping[Partition, str],
    standbys: Mapping[Partition, Sequence[str]],
    moves: Mapping[Partition, str] | None = None,
    held: bool = False,
    unfit: Unfit = ALL_FIT,
) -> Plan:
    """`hosts`: how many workers each may run; `owners` and `standbys`: where things are today; `moves`: where
    somebody wants a partition to be, whatever the balance says, unless that host is `unfit`; `held`: nothing may
    move at this time."""
    places = {host: count for host, count in sorted(hosts.items()) if count > 0}
    names = tuple(places)
    covered, left_out = _cover(sorted(partitions), owners, places)
    # From here on hosts and partitions are numbers, in the order of their names. So a thousand partitions take a
    # millisecond, which counts: they are planned anew with each worker that comes or goes.
    numbers = {host: number for number, host in enumerate(names)}
    today = [numbers.get(host, NOBODY) for host in map(owners.get, covered)]  # type: ignore[arg-type]
    warm = _sets(map(standbys.get, covered), {host: 1 << number for host, number in numbers.items()})
    holding = Counter(today)
    owned = {host: holding[number] for host, number in numbers.items()}
    shares = shares_of_fit(places, len(covered), owned, unfit)
    if held:
        staying = {host: min(owned[host], places[host]) for host in places if host not in unfit.drained}
        moves, shares = None, {host: max(shares[host], staying.get(host, 0)) for host in places}
    wanted = _wanted(moves, covered, places, owners, unfit) if moves else {}
    left = list(_make_room(shares, wanted, places).values())
    chosen = choose_owners(today, left, warm, {p: numbers[host] for p, host in wanted.items()})
    free = list(map(int.__sub__, places.values(), map(Counter(chosen).__getitem__, range(len(names)))))
    for host in unfit.drained & places.keys():
        free[numbers[host]] = 0
    for number, owner in enumerate(chosen):
        if (
            today[number] == NOBODY
            and warm[number] >> owner & 1
            and list(standbys[covered[number]]).count(names[owner]) == 1
        ):
            warm[number] ^= 1 << owner  # it is no standby there, but about to be the owner
    sets = place_standbys([1 << owner for owner in chosen], free, warm)
    found = {hosts: tuple(host for host, number in numbers.items() if hosts >> number & 1) for hosts in set(sets)}
    return Plan(
        {p: names[owner] for p, owner in zip(covered, chosen, strict=True)},
        {p: found[hosts] for p, hosts in zip(covered, sets, strict=True) if hosts},
        left_out,
    )


def _cover(
    in_order: list[Partition], owners: Mapping[Partition, str], places: Mapping[str, int]
) -> tuple[list[Partition], tuple[Partition, ...]]:
    """Those there is a place for, and the others, both in order."""
    room = sum(places.values())
    if room >= len(in_order):
        return in_order, ()
    covered = sorted(sorted(in_order, key=lambda p: owners.get(p) not in places)[:room])
    served = set(covered)
    return covered, tuple(p for p in in_order if p not in served)


def _sets(standbys: Iterable[Sequence[str] | None], bits: Mapping[str, int]) -> list[int]:
    """Sets of hosts, each as one number."""
    sets = []
    for hosts in standbys:
        found = 0
        for host in hosts or ():
            found |= bits.get(host, 0)
        sets.append(found)
    return sets


def _wanted(
    moves: Mapping[Partition, str],
    covered: Sequence[Partition],
    places: Mapping[str, int],
    owners: Mapping[Partition, str],
    unfit: Unfit,
) -> dict[int, str]:
    """The moves that can be, by number; and what is where it was moved to stays on a host that is unable by now."""
    numbers = {partition: number for number, partition in enumerate(covered)}
    able, keeping = places.keys() - unfit.unable - unfit.drained, places.keys() - unfit.drained
    return {
        numbers[p]: host
        for p, host in sorted(moves.items())
        if p in numbers and (host in able or (host in keeping and owners.get(p) == host))
    }


def _make_room(shares: Mapping[str, int], wanted: Mapping[int, str], places: Mapping[str, int]) -> dict[str, int]:
    """A host that is wanted for more than its share gets more, as far as it has places; others give."""
    shares = dict(shares)
    pinned = Counter(wanted.values())
    for host in sorted(pinned):
        for _ in range(max(0, min(pinned[host], places[host]) - shares[host])):
            givers = [h for h in shares if shares[h] > min(pinned[h], places[h])]
            if not givers:
                break
            shares[max(givers, key=lambda h: (shares[h] - pinned[h], h))] -= 1
            shares[host] += 1
    return shares


def is_a_landslide(before: int, now: int) -> bool:
    """Whether most hosts vanished together. Then something is wrong that moving partitions does not mend."""
    return before >= 3 and now * 2 < before
