"""The plan, computed as plainly as it can be: what `placement.plan` must come to, only faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from partition_supervisor.control.placement import Plan
from partition_workers.model import Partition


def plan(
    hosts: Mapping[str, int],
    partitions: Sequence[Partition],
    owners: Mapping[Partition, str],
    standbys: Mapping[Partition, Sequence[str]],
    moves: Mapping[Partition, str] | None = None,
    held: bool = False,
) -> Plan:
    """`hosts`: how many workers each may run; `owners` and `standbys`: where things are today; `moves`: where
    somebody wants a partition to be, whatever the balance says; `held`: nothing may move at this time."""
    places = {host: count for host, count in sorted(hosts.items()) if count > 0}
    today = {p: owners[p] for p in partitions if owners.get(p) in places}
    ranked = sorted(partitions, key=lambda p: (p not in today, p))
    covered = sorted(ranked[: sum(places.values())])
    served = set(covered)
    holding = Counter(host for p, host in today.items() if p in served)
    shares = _shares(places, len(covered), holding)
    if held:
        moves, shares = {}, {host: max(shares[host], min(holding[host], places[host])) for host in places}
    wanted = {p: host for p, host in (moves or {}).items() if host in places and p in served}
    chosen = _owners(covered, today, _make_room(shares, wanted, places), standbys, wanted)
    warm = {p: _besides_the_owner_to_be(standbys.get(p, ()), None if p in today else chosen[p]) for p in chosen}
    owned = Counter(chosen.values())
    free = {host: places[host] - owned[host] for host in places}
    return Plan(
        chosen,
        _standbys(covered, chosen, free, warm),
        tuple(p for p in sorted(partitions) if p not in chosen),
    )


def _shares(places: Mapping[str, int], total: int, owned: Mapping[str, int]) -> dict[str, int]:
    """`total` spread over the hosts in proportion to their places; the remainders go to the largest fractions, and
    among equal ones to who owns more than its share already."""
    all_places = sum(places.values())
    if not all_places:
        return {}
    shares, rest = {}, {}
    for host, count in places.items():
        shares[host], rest[host] = divmod(total * count, all_places)

    def claim(host: str) -> tuple[int, int, str]:
        return -rest[host], shares[host] - owned.get(host, 0), host

    for host in sorted(places, key=claim)[: total - sum(shares.values())]:
        shares[host] += 1
    return shares


def _make_room(
    shares: Mapping[str, int], wanted: Mapping[Partition, str], places: Mapping[str, int]
) -> dict[str, int]:
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


def _owners(
    covered: Sequence[Partition],
    today: Mapping[Partition, str],
    shares: Mapping[str, int],
    standbys: Mapping[Partition, Sequence[str]],
    wanted: Mapping[Partition, str],
) -> dict[Partition, str]:
    left = dict(shares)
    chosen: dict[Partition, str] = {}
    for partition, target in sorted(wanted.items()):
        if left[target] > 0:
            chosen[partition] = target
            left[target] -= 1
    holding = Counter(today[p] for p in covered if p in today and p not in chosen)
    short = {host for host in left if left[host] > holding[host]}
    # If not all can stay, those go who are awaited somewhere: nobody has to be started for them.
    for partition in sorted(covered, key=lambda p: (not short.isdisjoint(standbys.get(p, ())), p)):
        host = today.get(partition)
        if partition not in chosen and host is not None and left[host] > 0:
            chosen[partition] = host
            left[host] -= 1
    for partition in covered:
        if partition not in chosen:
            warm = standbys.get(partition, ())
            taker = min((h for h in left if left[h] > 0), key=lambda h: (h not in warm, -left[h], h))
            chosen[partition] = taker
            left[taker] -= 1
    return {p: chosen[p] for p in covered}


def _besides_the_owner_to_be(standbys: Sequence[str], owner_to_be: str | None) -> list[str]:
    """A warm worker on the host that shall own a free partition is no standby: it is about to be the owner."""
    warm = list(standbys)
    if owner_to_be in warm:
        warm.remove(owner_to_be)
    return warm


def _standbys(
    covered: Sequence[Partition],
    owners: Mapping[Partition, str],
    free: dict[str, int],
    today: Mapping[Partition, Sequence[str]],
) -> dict[Partition, tuple[str, ...]]:
    """Everybody gets a first standby before anybody gets a second; elsewhere first, then beside the owner.

    As many as possible get a first one elsewhere.
    """
    rooms = _Rooms(covered, owners, free, today)
    rooms.choose(beside_owner=False)
    full: set[str] = set()
    for partition in covered:
        asked = full.copy()
        if rooms.open and not rooms.chosen[partition] and not rooms.squeeze_in(partition, asked):
            full = asked  # and for ever: from none of them a way leads to an open place
    for _ in range(len(free) - 1):
        rooms.choose(beside_owner=False)
    rooms.choose(beside_owner=True)
    return {p: tuple(sorted(hosts)) for p, hosts in rooms.chosen.items() if hosts}


class _Rooms:
    """Places that no owner needs, and who gets them."""

    def __init__(
        self,
        covered: Sequence[Partition],
        owners: Mapping[Partition, str],
        free: dict[str, int],
        today: Mapping[Partition, Sequence[str]],
    ) -> None:
        self.chosen: dict[Partition, list[str]] = {p: [] for p in covered}
        self.open = {host for host, places in free.items() if places > 0}
        self._owners, self._free, self._today = owners, free, today

    def choose(self, beside_owner: bool) -> None:
        """One round: who has the fewest hosts to choose from chooses first, a warm one if it can."""
        if not self.open:
            return
        turn = []
        for partition in self.chosen:
            hosts = self._open_to(partition, beside_owner)
            is_warm = not hosts.isdisjoint(self._today.get(partition, ()))
            turn.append((len(hosts), not is_warm, partition))
        for _, _, partition in sorted(turn):
            if hosts := self._open_to(partition, beside_owner):
                warm = hosts.intersection(self._today.get(partition, ()))
                self._take(partition, min(warm or hosts, key=lambda host: (-self._free[host], host)))

    def squeeze_in(self, partition: Partition, asked: set[str]) -> bool:
        """Whoever has a place may get another in the same way: Kuhn's augmenting path.

        From the hosts in `asked` no way leads to an open place.
        """
        elsewhere = self._free.keys() - asked - {self._owners[partition]}
        for host in sorted(elsewhere, key=lambda host: (host not in self.open, host)):
            if host in self.open:
                self._take(partition, host)
                return True
            if host in asked:
                continue  # by somebody who was asked meanwhile
            asked.add(host)
            for other, hosts in self.chosen.items():
                if hosts == [host] and self.squeeze_in(other, asked):
                    hosts.remove(host)
                    self.chosen[partition].append(host)
                    return True
        return False

    def _open_to(self, partition: Partition, beside_owner: bool) -> set[str]:
        owner = {self._owners[partition]}
        return (self.open & owner if beside_owner else self.open - owner).difference(self.chosen[partition])

    def _take(self, partition: Partition, host: str) -> None:
        self.chosen[partition].append(host)
        self._free[host] -= 1
        if not self._free[host]:
            self.open.remove(host)
