"""Who should own which partition, and where its standbys wait."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from partition_supervisor.control.placement import Plan, plan
from partition_workers.model import Partition

Waiting = dict[Partition, tuple[str, ...]]

HOST_NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
HOSTS = st.dictionaries(HOST_NAMES, st.integers(0, 8), max_size=5)
EQUAL_HOSTS = st.tuples(st.sets(HOST_NAMES, min_size=1), st.integers(1, 8)).map(
    lambda given: dict.fromkeys(sorted(given[0]), given[1])
)
PARTITIONS = st.integers(0, 12).map(lambda n: [Partition("t", number) for number in range(n)])
SOMEWHERE = st.dictionaries(st.integers(0, 11).map(lambda n: Partition("t", n)), HOST_NAMES)
WAITING = st.dictionaries(
    st.integers(0, 11).map(lambda n: Partition("t", n)), st.lists(HOST_NAMES, max_size=3).map(tuple)
)


def some(count: int) -> list[Partition]:
    return [Partition("t", number) for number in range(count)]


def owned_by(found: Plan) -> Counter[str]:
    return Counter(found.owners.values())


def moved(before: Mapping[Partition, str], after: Plan) -> set[Partition]:
    return {p for p, host in after.owners.items() if before.get(p) != host}


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING, st.booleans())
@settings(max_examples=300)
def test_everything_is_covered_as_far_as_the_places_go(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting, held: bool
) -> None:
    """As many partitions as there are places have an owner, and exactly the others are left out."""
    found = plan(hosts, partitions, owners, waiting, held=held)
    assert len(found.owners) == min(len(partitions), sum(hosts.values()))
    assert sorted([*found.owners, *found.left_out]) == partitions


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING, st.booleans())
@settings(max_examples=300)
def test_no_host_is_asked_for_more_than_its_places(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting, held: bool
) -> None:
    """Owners and standbys together fit on their host, and nobody works on a host that is not there."""
    found = plan(hosts, partitions, owners, waiting, held=held)
    wanted = Counter(found.owners.values())
    for each in found.standbys.values():
        wanted.update(each)
    assert all(count <= hosts.get(host, 0) for host, count in wanted.items())
    for host in hosts:
        assert sum(found.workers_on(host).values()) == wanted[host]


@given(EQUAL_HOSTS, PARTITIONS, SOMEWHERE, WAITING)
def test_hosts_of_equal_capacity_own_equally_many(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting
) -> None:
    """Within one."""
    counts = owned_by(plan(hosts, partitions, owners, waiting))
    assert max(counts[host] for host in hosts) - min(counts[host] for host in hosts) <= 1


@given(HOSTS, PARTITIONS, SOMEWHERE)
def test_owners_are_spread_in_proportion_to_the_places(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str]
) -> None:
    """Nobody is further than one from its exact share."""
    counts = owned_by(plan(hosts, partitions, owners, {}))
    places = sum(hosts.values())
    for host, count in hosts.items():
        share = min(len(partitions), places) * count / places if places else 0
        assert abs(counts[host] - share) < 1


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING, st.randoms())
def test_the_same_on_every_host(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str],
    waiting: Waiting, rng: random.Random,
) -> None:  # fmt: skip
    """The order in which anybody learned of anything does not matter."""

    def shuffled(items: list[tuple[Partition, str]]) -> dict[Partition, str]:
        return dict(rng.sample(items, len(items)))

    again = plan(
        dict(rng.sample(list(hosts.items()), len(hosts))),
        rng.sample(partitions, len(partitions)),
        shuffled(list(owners.items())),
        {p: tuple(rng.sample(each, len(each))) for p, each in waiting.items()},
    )
    assert plan(hosts, partitions, owners, waiting) == again


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING, st.booleans())
def test_plans_that_are_carried_out_settle(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting, held: bool
) -> None:
    """Planning again from what was planned moves no owner, and standbys for three rounds at the most."""
    newest = first = plan(hosts, partitions, owners, waiting, held=held)
    for _ in range(3):
        newest = plan(hosts, partitions, newest.owners, newest.standbys, held=held)
    last = plan(hosts, partitions, newest.owners, newest.standbys, held=held)
    assert last.owners == first.owners
    assert {host: last.workers_on(host) for host in hosts} == {host: newest.workers_on(host) for host in hosts}


@given(HOSTS, PARTITIONS, SOMEWHERE)
def test_a_host_keeps_what_it_owns_up_to_its_share(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str]
) -> None:
    """A partition moves only off a host that is gone, or that owns more than it is to own."""
    found = plan(hosts, partitions, owners, {})
    counts = owned_by(found)
    for host in hosts:
        today = {p for p in found.owners if owners.get(p) == host}
        kept = {p for p in today if found.owners[p] == host}
        assert len(kept) == min(len(today), counts[host])


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING)
def test_while_nothing_may_move_a_host_keeps_all_that_it_owns(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting
) -> None:
    """As far as it has places: nobody is to move, whatever the balance says and somebody has asked for."""
    asked = {partition: min(hosts) for partition in partitions} if hosts else {}
    found = plan(hosts, partitions, owners, waiting, asked, held=True)
    for host, places in hosts.items():
        today = {p for p in found.owners if owners.get(p) == host}
        kept = {p for p in today if found.owners[p] == host}
        assert len(kept) == min(len(today), places)


@given(EQUAL_HOSTS, PARTITIONS, st.randoms())
def test_owners_that_are_balanced_already_stay_where_they_are(
    hosts: dict[str, int], partitions: list[Partition], rng: random.Random
) -> None:
    """Whichever of the hosts has one more than the others, no move would make it better."""
    partitions = partitions[: sum(hosts.values())]
    names = rng.sample(list(hosts), len(hosts))
    today = {p: names[n % len(names)] for n, p in enumerate(partitions)}
    assert not moved(today, plan(hosts, partitions, today, {}))


@given(EQUAL_HOSTS, PARTITIONS)
def test_a_host_that_leaves_moves_only_its_own_partitions(hosts: dict[str, int], partitions: list[Partition]) -> None:
    """Those of the others stay where they are."""
    before = plan(hosts, partitions, {}, {})
    for gone in hosts:
        left = {host: places for host, places in hosts.items() if host != gone}
        after = plan(left, partitions, before.owners, before.standbys)
        stayed = {p for p in before.owners if before.owners[p] != gone}
        assert not moved(before.owners, after) & stayed


@given(EQUAL_HOSTS, PARTITIONS)
def test_a_host_that_joins_takes_only_its_share(hosts: dict[str, int], partitions: list[Partition]) -> None:
    """What moves, moves to the newcomer, and as much as it is to own."""
    before = plan(hosts, partitions, {}, {})
    after = plan({**hosts, "new": next(iter(hosts.values()))}, partitions, before.owners, before.standbys)
    changed = moved(before.owners, after) & before.owners.keys()
    assert all(after.owners[p] == "new" for p in changed)
    assert len(changed) <= owned_by(after)["new"]


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING)
@settings(max_examples=300)
def test_a_standby_beside_its_owner_is_the_last_resort(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting
) -> None:
    """No other host has a place left then, unless it has a standby of that partition already."""
    found = plan(hosts, partitions, owners, waiting)
    left = {host: places - sum(found.workers_on(host).values()) for host, places in hosts.items()}
    for partition, each in found.standbys.items():
        owner = found.owners[partition]
        assert len(set(each)) == len(each)
        if owner in each:
            assert all(host == owner or host in each for host, places in left.items() if places > 0)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 4), min_size=1), st.integers(1, 5).map(some),
    SOMEWHERE, WAITING, st.booleans(),
)  # fmt: skip
@settings(max_examples=300)
def test_as_many_partitions_as_possible_have_a_standby_on_another_host(
    hosts: dict[str, int], partitions: list[Partition], owners: dict[Partition, str], waiting: Waiting, held: bool
) -> None:
    """Whatever the owners are, no other choice of hosts would do better: all choices are tried."""
    found = plan(hosts, partitions, owners, waiting, held=held)
    free = Counter(hosts) - owned_by(found)
    best = max(
        sum(host is not None for host in choice)
        for choice in product([None, *hosts], repeat=len(found.owners))
        if not Counter(host for host in choice if host) - free
        and not set(zip(found.owners, choice, strict=True)) & set(found.owners.items())
    )
    assert sum(any(host != owner for host in found.standbys.get(p, ())) for p, owner in found.owners.items()) == best


@given(HOSTS, PARTITIONS)
def test_nobody_gets_a_second_standby_elsewhere_before_everybody_could_have_a_first(
    hosts: dict[str, int], partitions: list[Partition]
) -> None:
    """A partition without a standby means that the places elsewhere had gone to first standbys, or to owners."""
    found = plan(hosts, partitions, {}, {})
    left = {host: places - sum(found.workers_on(host).values()) for host, places in hosts.items()}
    for partition, owner in found.owners.items():
        if not found.standbys.get(partition):
            assert all(places == 0 for places in left.values())
            assert all(host == owner or left[host] == 0 for host in hosts)


def test_more_partitions_than_places_leave_out_those_that_nobody_owns_by_name() -> None:
    """Those that somebody owns stay; the rest is served in order, and the same ones are left out every time."""
    hosts, partitions = {"a": 2, "b": 1}, some(6)
    found = plan(hosts, partitions, {Partition("t", 5): "b"}, {})
    assert found.left_out == (Partition("t", 2), Partition("t", 3), Partition("t", 4))
    assert plan(hosts, partitions, found.owners, {}).left_out == found.left_out
    assert found.standbys == {}


def test_a_partition_moves_to_where_it_is_warm() -> None:
    """Of hosts with room, the one with a ready standby gets it."""
    owners = {Partition("t", 0): "gone", Partition("t", 1): "gone"}
    waiting = {Partition("t", 0): ("b",), Partition("t", 1): ("a",)}
    assert plan({"a": 2, "b": 2}, some(2), owners, waiting).owners == {Partition("t", 0): "b", Partition("t", 1): "a"}


def test_of_too_many_those_move_who_are_awaited_where_there_is_room() -> None:
    """After a death its heir's host has one too many: whoever has a standby where one is missing goes there."""
    p = some(6)
    owners = {p[0]: "a", p[1]: "a", p[2]: "a", p[3]: "b", p[4]: "b", p[5]: "c"}
    standbys = {p[0]: ["c"], p[1]: ["b"], p[2]: ["b"], p[3]: ["a"], p[4]: ["c"], p[5]: ["b"]}
    assert plan(dict.fromkeys("abc", 4), p, owners, standbys).owners == owners | {p[0]: "c"}


def test_two_hosts_are_each_others_standbys() -> None:
    """With enough places every partition has a standby on the other host."""
    found = plan({"a": 4, "b": 4}, some(4), {}, {})
    assert all(found.standbys[p] == ("b" if owner == "a" else "a",) for p, owner in found.owners.items())


def test_a_host_alone_keeps_standbys_beside_its_owners() -> None:
    """Better beside the owner than nowhere, and one of them is enough."""
    found = plan({"a": 9}, some(2), {}, {})
    assert found.standbys == dict.fromkeys(some(2), ("a",))
    assert found.workers_on("a") == dict.fromkeys(some(2), 2)
    assert found.workers_on("b") == {}


def test_without_a_place_everything_is_left_out() -> None:
    """A group without hosts, or with hosts that take nothing, has an empty plan that names what is missing."""
    for hosts in ({}, {"a": 0}):
        assert plan(hosts, some(2), {}, {}) == Plan({}, {}, tuple(some(2)))
