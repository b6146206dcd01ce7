"""Whose standbys take the places that no owner needs: a part of the plan, in which hosts are bits of a number and a
set of hosts is a number; partitions are numbers too, and all are in the order of their names."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence


def place_standbys(owners: Sequence[int], free: list[int], warm: Sequence[int]) -> list[int]:
    """Everybody gets a first standby before anybody gets a second; elsewhere first, then beside the owner.

    As many as possible get a first one elsewhere. `owners` and `warm`: for each partition the host of its owner, and
    the set of those where it has a standby; `free`: how many places each host has, used up by this. Returns sets.
    """
    rooms = _Rooms(owners, free, warm)
    rooms.choose(beside_owner=False)
    if rooms.open and 0 in rooms.chosen:
        rooms.squeeze_in()
    while rooms.choose(beside_owner=False):
        pass
    rooms.choose(beside_owner=True)
    return rooms.chosen


class _Rooms:
    """Places that no owner needs, and who gets them. `open`: the hosts that have some."""

    def __init__(self, owners: Sequence[int], free: list[int], warm: Sequence[int]) -> None:
        self.chosen = [0] * len(owners)
        self.open = sum(1 << host for host, places in enumerate(free) if places > 0)
        self._owners, self._free, self._warm = owners, free, warm
        self._all = (1 << len(free)) - 1
        #: Partitions with only this standby, by their owner's host, in order; for hosts that were asked: they have no
        #: places left.
        self._only: dict[int, dict[int, list[int]]] = {}

    def choose(self, beside_owner: bool) -> bool:
        """One round: who has the fewest hosts to choose from chooses first, a warm one if it can. False: none did."""
        if not self.open:
            return False
        everybody, chosen, warm = self.open, self.chosen, self._warm
        allowed = self._owners if beside_owner else [self._all ^ owner for owner in self._owners]
        rank = [
            ((hosts := everybody & may & ~has).bit_count() << 1) | (not hosts & ready)
            for may, has, ready in zip(allowed, chosen, warm, strict=True)
        ]
        free, open_to, took = self._free, self.open, False
        most = max(free)
        emptiest: defaultdict[int, int] = defaultdict(int)  # the hosts that have so many
        for number, places in enumerate(free):
            emptiest[places] |= 1 << number
        for partition in sorted(range(len(rank)), key=rank.__getitem__):
            if not (hosts := open_to & allowed[partition] & ~chosen[partition]):
                continue
            host = hosts & warm[partition] or hosts
            if host & (host - 1):  # more than one
                host = host & emptiest[most] or host & emptiest[most - 1] or self._emptiest(host)
                host &= -host
            number = host.bit_length() - 1
            chosen[partition] |= host
            emptiest[free[number]] ^= host
            free[number] -= 1
            emptiest[free[number]] |= host
            most -= not emptiest[most]
            took = True
            if not free[number]:
                open_to ^= host
                if not open_to:
                    break
        self.open = open_to
        return took

    def squeeze_in(self) -> None:
        """Find a place elsewhere for those who have none yet."""
        full = 0
        for partition, hosts in enumerate(self.chosen):
            if not hosts and self.open:
                asked = [full]
                if not self._make_room(partition, asked):
                    (full,) = asked  # and for ever: from none of them a way leads to an open place

    def _make_room(self, partition: int, asked: list[int]) -> bool:
        """Whoever has a place may get another in the same way: Kuhn's augmenting path.

        From the hosts in `asked`, one set, no way leads to an open place.
        """
        elsewhere = self._all & ~asked[0] & ~self._owners[partition]
        if hosts := elsewhere & self.open:
            self._take(partition, hosts & -hosts)
            return True
        while elsewhere := elsewhere & ~asked[0]:  # others may have been asked meanwhile
            host = elsewhere & -elsewhere
            asked[0] |= host
            # One for each owner is enough: where it asked in vain, the others of that owner would ask too.
            for other in sorted(partitions[0] for partitions in self._only_on(host).values() if partitions):
                if self._make_room(other, asked):
                    self._give(host, other, partition)
                    return True
        return False

    def _take(self, partition: int, host: int) -> None:
        number = host.bit_length() - 1
        self.chosen[partition] |= host
        self._free[number] -= 1
        if not self._free[number]:
            self.open ^= host

    def _only_on(self, host: int) -> dict[int, list[int]]:
        if host not in self._only:
            found = self._only[host] = defaultdict(list)
            for partition in [number for number, hosts in enumerate(self.chosen) if hosts == host]:
                found[self._owners[partition]].append(partition)
        return self._only[host]

    def _give(self, host: int, other: int, partition: int) -> None:
        """The place there that another one has, for that has a new one now."""
        self.chosen[other] ^= host
        self.chosen[partition] |= host
        only = self._only_on(host)
        same = only[self._owners[other]]
        del same[bisect_left(same, other)]
        insort(only[self._owners[partition]], partition)

    def _emptiest(self, hosts: int) -> int:
        """Those of these that have the most places."""
        places = [count if hosts >> host & 1 else 0 for host, count in enumerate(self._free)]
        most = max(places)
        return sum(1 << host for host, count in enumerate(places) if count == most)
