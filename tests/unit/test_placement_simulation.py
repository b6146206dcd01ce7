"""A thousand random lives of a cluster, on the pure plan: hosts join, leave and die, partitions are moved and paused.

The plan is carried out as `reconcile` does. Whatever happened, it must come to rest, and well. Each plan on the way
is also computed plainly, and must be the same.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_supervisor.control.placement import Plan, plan
from partition_workers.model import Partition
from tests.plain_placement import plan as plainly

HOSTS = ["a", "b", "c", "d"]
KINDS = ["join", "leave", "kill", "kill a worker", "drain", "undrain", "move", "forget the move", "pause", "resume"]
KINDS += ["hold", "hold no more"]
#: More turns than this without rest mean that there is none.
RESTLESS = 60


@dataclass(frozen=True)
class Happening:
    """`turns`: how far the cluster gets before the next thing happens; None: it comes to rest."""

    kind: str
    host: str
    number: int
    places: int
    turns: int | None


@dataclass
class Town:
    """A cluster as etcd and the hosts' processes would show it. One turn: what all supervisors do at one time."""

    partitions: list[Partition]
    hosts: dict[str, int] = field(default_factory=dict)
    owners: dict[Partition, str] = field(default_factory=dict)
    ready: dict[Partition, list[str]] = field(default_factory=lambda: defaultdict(list))
    warming: dict[Partition, list[str]] = field(default_factory=lambda: defaultdict(list))
    drained: set[str] = field(default_factory=set)
    pins: dict[Partition, str] = field(default_factory=dict)
    paused: set[Partition] = field(default_factory=set)
    held: bool = False
    moves: list[tuple[Partition, str, str]] = field(default_factory=list)

    # --- what the supervisors make of it

    @property
    def places(self) -> dict[str, int]:
        return {host: places for host, places in self.hosts.items() if host not in self.drained}

    def plan(self) -> Plan:
        found = plan(self.places, self.partitions, self.owners, self.ready, self.pins, self.held)
        assert found == plainly(self.places, self.partitions, self.owners, self.ready, self.pins, self.held)
        return found

    def rest(self) -> None:
        for _ in range(RESTLESS):
            if not self.turn():
                return
        raise AssertionError(f"no rest after {RESTLESS} turns; the last moves: {self.moves[-8:]}")

    def turn(self) -> bool:
        """False: nothing was left to be done."""
        plan = self.plan()
        acted = [self._warm_up(), self._take_free_locks(plan), self._staff(plan), self._move(plan)]
        return any(acted)

    def _warm_up(self) -> bool:
        warmed = [(p, host) for p, hosts in self.warming.items() for host in hosts]
        for partition, host in warmed:
            self.ready[partition].append(host)
        self.warming.clear()
        return bool(warmed)

    def _take_free_locks(self, plan: Plan) -> bool:
        """The planned host is the first in the queue; failover waits for no plan."""
        free = [p for p in self.partitions if p not in self.owners | dict.fromkeys(self.paused, "") and self.ready[p]]
        for partition in free:
            first = min(self.ready[partition], key=lambda host: (host != plan.owners.get(partition), host))
            self._own(partition, first)
        return bool(free)

    def _staff(self, plan: Plan) -> bool:
        let_go = [p for p in plan.left_out if self.owners.pop(p, None)]
        acted = bool(let_go)
        for host in self.hosts:
            wanted = plan.workers_on(host)
            for p in self.partitions:
                idle = self.ready[p].count(host) + self.warming[p].count(host)
                missing = wanted.get(p, 0) - idle - (self.owners.get(p) == host)
                acted = acted or missing > 0 or (missing < 0 and idle > 0)
                self.warming[p].extend([host] * missing)
                for _ in range(min(idle, -missing)):
                    (self.ready if host in self.ready[p] else self.warming)[p].remove(host)
        return acted

    def _move(self, plan: Plan) -> bool:
        if self.held:
            return False
        moving: set[str] = set()
        for partition, target in plan.owners.items():
            owner = self.owners.get(partition)
            if owner is None or owner == target or target not in self.ready[partition]:
                continue
            if owner in moving:
                continue
            assert target in self.places, "moved to a host that takes nothing"
            moving.add(owner)
            self.moves.append((partition, owner, target))
            self._own(partition, target)
        return bool(moving)

    def _own(self, partition: Partition, host: str) -> None:
        self.ready[partition].remove(host)
        self.owners[partition] = host

    # --- what happens to it

    def happen(self, what: Happening) -> None:
        partition = self.partitions[what.number % len(self.partitions)]
        match what.kind:
            case "join" if what.host not in self.hosts:
                self.hosts[what.host] = what.places
            case "leave" if what.host in self.hosts:
                for owned in self.owned_by(what.host):
                    self.owners.pop(owned)
                    if successors := [each for each in self.ready[owned] if each != what.host]:
                        self._own(owned, successors[0])
                self._forget(what.host)
            case "kill" if what.host in self.hosts:
                self._forget(what.host)
            case "kill a worker":
                self.owners.pop(partition, None)
            case "drain" if what.host in self.hosts:
                self.drained.add(what.host)
            case "undrain":
                self.drained.discard(what.host)
            case "move" if what.host in self.places:
                self.pins[partition] = what.host
            case "forget the move":
                self.pins.pop(partition, None)
            case "pause":
                self.paused.add(partition)
                self.owners.pop(partition, None)
            case "resume":
                self.paused.discard(partition)
            case "hold" | "hold no more":
                self.held = what.kind == "hold"

    def _forget(self, host: str) -> None:
        del self.hosts[host]
        for owned in self.owned_by(host):
            del self.owners[owned]
        for workers in (self.ready, self.warming):
            for partition in workers:
                workers[partition] = [each for each in workers[partition] if each != host]

    # --- questions

    def owned_by(self, host: str) -> list[Partition]:
        return [partition for partition, owner in self.owners.items() if owner == host]

    def workers_on(self, host: str) -> int:
        standbys = sum(hosts.count(host) for hosts in self.ready.values())
        return len(self.owned_by(host)) + standbys

    def satisfiable_pins(self) -> dict[Partition, str]:
        """Those whose host lives, takes partitions, and has a place for all that are pinned to it."""
        covered = self.plan().owners
        pins = {p: host for p, host in self.pins.items() if host in self.places and p in covered}
        crowd = Counter(pins.values())
        return {p: host for p, host in pins.items() if crowd[host] <= self.places[host]}


HAPPENINGS = st.builds(
    Happening,
    st.sampled_from(KINDS),
    st.sampled_from(HOSTS),
    st.integers(0, 5),
    st.integers(1, 4),
    st.sampled_from([None, 0, 1, 2]),
)
LIVES = st.lists(HAPPENINGS, min_size=1, max_size=10)
SIZES = st.integers(1, 6)
FOUNDERS = st.dictionaries(st.sampled_from(HOSTS), st.integers(1, 4), min_size=1)
A_THOUSAND_LIVES = settings(max_examples=220, deadline=None)


def found(size: int, founders: dict[str, int]) -> Town:
    """A town at rest."""
    town = Town([Partition("t", number) for number in range(size)], dict(founders))
    town.rest()
    return town


def live(town: Town, life: Iterable[Happening]) -> Town:
    for each in life:
        town.happen(each)
        if each.turns is None:
            town.rest()
        for _ in range(each.turns or 0):
            town.turn()
    town.rest()
    town.held = False
    town.rest()
    return town


@given(SIZES, FOUNDERS, LIVES)
@A_THOUSAND_LIVES
def test_it_comes_to_rest_as_planned_on_every_host(
    size: int, founders: dict[str, int], life: list[Happening]
) -> None:
    """At rest who owns is who should, what is left out is named and the same, and every host plans alike."""
    town = live(found(size, founders), life)
    at_rest = town.plan()
    for partition, host in at_rest.owners.items():
        assert town.owners.get(partition) == (None if partition in town.paused else host)
    assert len(at_rest.left_out) == max(0, size - sum(town.places.values()))
    assert sorted([*at_rest.owners, *at_rest.left_out]) == town.partitions
    shuffle = random.Random(size).sample
    elsewhere = plan(
        dict(shuffle(list(town.places.items()), len(town.places))),
        shuffle(town.partitions, size),
        dict(shuffle(list(town.owners.items()), len(town.owners))),
        {p: shuffle(hosts, len(hosts)) for p, hosts in town.ready.items()},
        dict(shuffle(list(town.pins.items()), len(town.pins))),
    )
    assert (elsewhere.owners, elsewhere.left_out) == (at_rest.owners, at_rest.left_out)
    assert [elsewhere.workers_on(host) for host in HOSTS] == [at_rest.workers_on(host) for host in HOSTS]


@given(SIZES, FOUNDERS, LIVES)
@A_THOUSAND_LIVES
def test_it_comes_to_rest_in_balance(size: int, founders: dict[str, int], life: list[Happening]) -> None:
    """Hosts of equal capacity own equally many, within one, unless somebody pinned partitions."""
    town = live(found(size, founders), [each for each in life if each.kind not in ("move", "pause")])
    counts = Counter(town.owners.values())
    for places in set(town.places.values()):
        equals = [counts[host] for host, each in town.places.items() if each == places]
        assert max(equals) - min(equals) <= 1


@given(SIZES, FOUNDERS, LIVES)
@A_THOUSAND_LIVES
def test_nobody_runs_more_workers_than_its_places(size: int, founders: dict[str, int], life: list[Happening]) -> None:
    """At rest; and a drained host is empty as soon as the others have a place for everything."""
    town = live(found(size, founders), life)
    assert {host: town.workers_on(host) for host in town.places if town.workers_on(host) > town.places[host]} == {}
    if sum(town.places.values()) >= size:
        assert not [host for host in town.drained & town.hosts.keys() if town.workers_on(host)]


@given(SIZES, FOUNDERS, LIVES, st.dictionaries(st.integers(0, 5), st.sampled_from(HOSTS)))
@A_THOUSAND_LIVES
def test_pins_hold(size: int, founders: dict[str, int], life: list[Happening], pins: dict[int, str]) -> None:
    """What was moved by hand is where it was moved to, as long as that host lives and has places for such."""
    town = live(found(size, founders), life)
    for number, host in pins.items():
        town.happen(Happening("move", host, number, 0, None))
    town.rest()
    wanted = {p: host for p, host in town.satisfiable_pins().items() if p not in town.paused}
    assert {p: town.owners[p] for p in wanted} == wanted


def test_pins_to_two_hosts_are_both_kept() -> None:
    """The second host that is wanted for more than its share takes it from the third, not from the first."""
    town = found(6, {"a": 4, "b": 4, "c": 4})
    for number, host in enumerate("bbbccc"):
        town.happen(Happening("move", host, number, 0, None))
    town.rest()
    assert town.owners == town.pins


@given(SIZES, FOUNDERS, LIVES)
@A_THOUSAND_LIVES
def test_nothing_moves_without_need(size: int, founders: dict[str, int], life: list[Happening]) -> None:
    """After each event no partition returns to a host that it left, and no more move than balance demands."""
    town = found(size, founders)
    for each in life:
        pinned = len(town.satisfiable_pins())
        town.happen(each)
        pinned = max(pinned, len(town.satisfiable_pins()))
        before, homeless = Counter(town.owners.values()), size - len(town.owners) - len(town.paused)
        town.moves.clear()
        town.rest()
        after = Counter(town.plan().owners.values())
        for partition in town.partitions:
            way = [host for p, start, _ in town.moves if p == partition for host in [start]]
            assert len(way) == len(set(way)), f"{partition} went {way}"
        needed = sum(max(0, count - after[host]) for host, count in before.items())
        assert len(town.moves) <= needed + homeless + 2 * pinned


@given(SIZES, st.sets(st.sampled_from(HOSTS[:3]), min_size=1), st.integers(1, 4))
def test_a_host_that_comes_and_goes_disturbs_only_its_share(size: int, founders: set[str], places: int) -> None:
    """Among equals, what moves when it joins moves to it, and when it is drained only that moves again."""
    town = found(size, dict.fromkeys(sorted(founders), places))
    town.moves.clear()
    town.happen(Happening("join", "d", 0, places, None))
    town.rest()
    assert all(target == "d" for _, _, target in town.moves)
    town.moves.clear()
    town.happen(Happening("drain", "d", 0, 0, None))
    town.rest()
    assert all(start == "d" for _, start, _ in town.moves)


def test_shares_that_are_equally_far_from_whole_move_nothing() -> None:
    """A third is a third, whether it is 1/3 or 4/3 - 1: who owns the remainder already keeps it."""
    town = found(3, {"a": 1, "b": 4, "d": 3})
    assert Counter(town.owners.values()) == {"b": 2, "d": 1}
    town.moves.clear()
    town.happen(Happening("join", "c", 0, 1, None))
    town.rest()
    assert town.moves == []


@pytest.mark.parametrize("size", [2, 4, 6])
def test_a_rolling_restart_of_two_hosts_ends_where_it_began(size: int) -> None:
    """Each leaves and comes back in turn; nothing is ever without an owner once the leaving host is gone."""
    town = found(size, {"a": size, "b": size})
    for host in ("a", "b", "a", "b"):
        town.happen(Happening("leave", host, 0, 0, None))
        assert len(town.owners) == size
        town.rest()
        town.happen(Happening("join", host, 0, size, None))
        town.rest()
    assert sorted(Counter(town.owners.values()).values()) == [size // 2, size // 2]
