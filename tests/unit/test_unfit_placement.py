"""The plan with hosts that are unable or drained, or that were started with other topics."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_supervisor.control.placement import Plan, plan
from partition_supervisor.control.shares import Unfit
from partition_supervisor.control.topic_placement import plan_by_topics
from partition_workers.model import Partition

NAMES = ["a", "b", "c", "d"]
HOST_NAMES = st.sampled_from(NAMES)
HOSTS = st.dictionaries(HOST_NAMES, st.integers(0, 8), max_size=4)
PARTITIONS = st.integers(0, 10).map(lambda n: [Partition("t", number) for number in range(n)])
SOMEWHERE = st.dictionaries(st.integers(0, 9).map(lambda n: Partition("t", n)), HOST_NAMES)
WAITING = st.dictionaries(
    st.integers(0, 9).map(lambda n: Partition("t", n)), st.lists(HOST_NAMES, max_size=3).map(tuple)
)
UNFIT = st.builds(Unfit, st.frozensets(HOST_NAMES), st.frozensets(HOST_NAMES))


def places_of(hosts: dict[str, int], besides: frozenset[str]) -> int:
    return sum(count for host, count in hosts.items() if host not in besides)


@given(HOSTS, PARTITIONS, SOMEWHERE, WAITING, UNFIT, st.booleans())
@settings(max_examples=300)
def test_nothing_is_given_to_the_unfit_unless_nobody_else_has_a_place(
    hosts: dict[str, int],
    partitions: list[Partition],
    owners: dict[Partition, str],
    waiting: dict[Partition, tuple[str, ...]],
    unfit: Unfit,
    held: bool,
) -> None:
    """Whatever they own, wherever workers wait: everything is covered as far as all places go, an unable host owns
    nothing that it does not own now, and a drained one nothing at all, if the others have places for it."""
    found = plan(hosts, partitions, owners, waiting, held=held, unfit=unfit)
    assert len(found.owners) == min(len(partitions), sum(hosts.values()))
    assert sorted([*found.owners, *found.left_out]) == partitions
    everywhere = Counter(found.owners.values())
    for each in found.standbys.values():
        everywhere.update(each)
    assert all(count <= hosts.get(host, 0) for host, count in everywhere.items())
    assert not {host for each in found.standbys.values() for host in each} & unfit.drained
    owned = Counter(found.owners.values())
    drained = sum(owned[host] for host in unfit.drained)
    assert drained == max(0, len(found.owners) - places_of(hosts, unfit.drained))
    able = {host for host, count in hosts.items() if count and host not in unfit.unable | unfit.drained}
    if able and places_of(hosts, unfit.unable | unfit.drained) >= len(partitions):
        for partition, host in found.owners.items():
            assert host not in unfit.unable or owners.get(partition) == host


@given(HOSTS, PARTITIONS, WAITING, UNFIT, st.data())
@settings(max_examples=300)
def test_a_host_that_becomes_unable_keeps_what_it_owns(
    hosts: dict[str, int],
    partitions: list[Partition],
    waiting: dict[Partition, tuple[str, ...]],
    unfit: Unfit,
    data: st.DataObject,
) -> None:
    """At rest, nothing moves for that, and nothing when it is able again."""
    unfit = Unfit(drained=unfit.drained)
    at_rest = plan(hosts, partitions, plan(hosts, partitions, {}, waiting, unfit=unfit).owners, waiting, unfit=unfit)
    ill = Unfit(frozenset([data.draw(HOST_NAMES)]), unfit.drained)
    while_ill = plan(hosts, partitions, at_rest.owners, waiting, unfit=ill)
    assert while_ill.owners == at_rest.owners
    assert plan(hosts, partitions, while_ill.owners, waiting, unfit=unfit).owners == at_rest.owners


def test_a_pin_to_a_host_that_is_unable_holds_what_is_there() -> None:
    """Even if that is more than its share."""
    partitions = [Partition("t", number) for number in range(4)]
    owners = dict.fromkeys(partitions[:3], "a") | {partitions[3]: "b"}
    assert plan({"a": 8, "b": 8}, partitions, owners, {}, owners, unfit=Unfit(frozenset("a"))).owners == owners


@pytest.mark.parametrize("unfit", [Unfit(frozenset("b")), Unfit(drained=frozenset("b"))])
def test_a_pin_to_an_unfit_host_waits_until_it_is_well(unfit: Unfit) -> None:
    p = Partition("t", 0)
    assert plan({"a": 2, "b": 2}, [p], {p: "a"}, {p: ("b",)}, {p: "b"}, unfit=unfit).owners == {p: "a"}
    assert plan({"a": 2, "b": 2}, [p], {p: "a"}, {p: ("b",)}, {p: "b"}).owners == {p: "b"}


# --- hosts that were started with other topics

TOPICS = ["x", "y", "z"]
OF_TOPICS = st.lists(st.builds(Partition, st.sampled_from(TOPICS), st.integers(0, 4)), unique=True, max_size=12).map(
    sorted
)
STARTED_WITH = st.dictionaries(HOST_NAMES, st.sets(st.sampled_from(TOPICS), min_size=1))
OWNED = st.dictionaries(st.builds(Partition, st.sampled_from(TOPICS), st.integers(0, 4)), HOST_NAMES)


@given(HOSTS, STARTED_WITH, OF_TOPICS, OWNED, UNFIT, st.booleans())
@settings(max_examples=300)
def test_a_partition_is_planned_only_onto_hosts_that_have_its_topic(
    hosts: dict[str, int],
    topics: dict[str, set[str]],
    partitions: list[Partition],
    owners: dict[Partition, str],
    unfit: Unfit,
    held: bool,
) -> None:
    """Owners and standbys, and never more of them on a host than it has places; every host gets the same answer."""
    found = plan_by_topics(hosts, topics, partitions, owners, {}, held=held, unfit=unfit)
    assert sorted([*found.owners, *found.left_out]) == partitions
    workers = Counter(found.owners.values())
    for partition, host in found.owners.items():
        assert partition.topic in topics.get(host, TOPICS)
    for partition, waiting in found.standbys.items():
        workers.update(waiting)
        assert all(partition.topic in topics.get(host, TOPICS) for host in waiting)
    assert all(count <= hosts.get(host, 0) for host, count in workers.items())
    backwards = dict(reversed(hosts.items()))
    assert plan_by_topics(backwards, topics, partitions[::-1], owners, {}, held=held, unfit=unfit) == found


@given(HOSTS, st.sets(st.sampled_from(TOPICS), min_size=3), OF_TOPICS, OWNED)
def test_hosts_that_are_alike_are_planned_as_ever(
    hosts: dict[str, int], topics: set[str], partitions: list[Partition], owners: dict[Partition, str]
) -> None:
    same = plan_by_topics(hosts, dict.fromkeys(hosts, topics), partitions, owners, {})
    assert same == plan(hosts, partitions, owners, {}) == plan_by_topics(hosts, {}, partitions, owners, {})


@given(HOSTS, STARTED_WITH, OF_TOPICS)
def test_it_comes_to_rest(hosts: dict[str, int], topics: dict[str, set[str]], partitions: list[Partition]) -> None:
    """What is as planned stays as it is."""
    first: Plan = plan_by_topics(hosts, topics, partitions, {}, {})
    again = plan_by_topics(hosts, topics, partitions, first.owners, first.standbys)
    assert again.owners == first.owners


def test_two_lists_of_topics_and_few_places_leave_nobody_out() -> None:
    """Four partitions of x for two hosts, four of y that only one has: all eight have an owner and a place."""
    partitions = [Partition(topic, number) for topic in "xy" for number in range(4)]
    found = plan_by_topics({"a": 4, "b": 4}, {"a": {"x", "y"}, "b": {"x"}}, partitions, {}, {})
    assert found.left_out == ()
    assert {found.owners[each] for each in partitions if each.topic == "y"} == {"a"}
    assert {found.owners[each] for each in partitions if each.topic == "x"} == {"b"}
