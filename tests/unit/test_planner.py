"""The plan is the same however quickly it was made, and is made again only when it can be another."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control import planner as planner_module
from partition_supervisor.control.placement import plan
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.shares import Unfit
from partition_supervisor.control.topic_placement import plan_by_topics
from partition_supervisor.listing import Snapshot, prefixes, read_all
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Delete, Operation, Put, Txn
from partition_workers.layout.documents import Cause, Drain, Host, Lock, Move, Standby, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd
from tests.plain_placement import plan as plainly

KEYS = Keys.of("partition-supervisor", "g")
NAMES = [f"host-{number}" for number in range(7)]
ALL = [Partition("t", number) for number in range(8)] + [Partition("u", number) for number in range(16)]

HOSTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 12), max_size=7)
SKEWED = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0, 1, 2, 24]), max_size=7)
SOMEWHERE = st.dictionaries(st.sampled_from(ALL), st.sampled_from([*NAMES, "elsewhere"]))
WAITING = st.dictionaries(st.sampled_from(ALL), st.lists(st.sampled_from([*NAMES, "elsewhere"]), max_size=4))
SOME = st.lists(st.sampled_from(ALL), unique=True)


@given(HOSTS | SKEWED, SOME, SOMEWHERE, WAITING, SOMEWHERE, st.booleans())
@settings(max_examples=600, deadline=None)
def test_it_is_the_same_as_computed_plainly(
    hosts: dict[str, int],
    partitions: Sequence[Partition],
    owners: dict[Partition, str],
    standbys: Mapping[Partition, Sequence[str]],
    moves: dict[Partition, str],
    held: bool,
) -> None:
    """Whatever is where, and in whatever order it is told. What follows from it may be planned again."""
    for _ in range(3):
        found = plan(hosts, partitions, owners, standbys, moves, held)
        assert found == plainly(hosts, partitions, owners, standbys, moves, held)
        owners, standbys = dict(found.owners), {p: list(where) for p, where in found.standbys.items()}
        moves, held = {}, False


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_same_where_places_have_to_be_squeezed_out(seed: int) -> None:
    """Few places are left, most of them on one host: whoever owns there must get one of those elsewhere."""
    dice = random.Random(seed)
    for _ in range(50):
        partitions = ALL[: dice.randrange(10, 24)]
        hosts = {name: dice.randrange(1, 9) for name in NAMES[: dice.randrange(3, 6)]}
        hosts["a"] = max(1, 2 * len(partitions) - sum(hosts.values()) - dice.randrange(3))
        owners = {p: dice.choice([*hosts, "a", "a"]) for p in partitions}
        standbys = {p: dice.sample([*hosts], dice.randrange(3)) for p in partitions}
        assert plan(hosts, partitions, owners, standbys, {}, True) == plainly(
            hosts, partitions, owners, standbys, {}, True
        )


KINDS = st.sampled_from(["lock", "standby", "move", "end", "ail", "drain"])
CHANGES = st.tuples(KINDS, st.integers(0, 5), st.sampled_from("abc"))
#: What happens in one round: changes in etcd, told by the watch or by a listing, and whether moves are held.
ROUNDS = st.lists(st.tuples(st.lists(CHANGES, max_size=4), st.booleans(), st.booleans()), max_size=12)


@given(ROUNDS)
@settings(max_examples=200, deadline=None)
def test_the_last_plan_stands_only_while_nothing_is_different(
    rounds: list[tuple[list[tuple[str, int, str]], bool, bool]],
) -> None:
    """After each round it is what a plan made from scratch is, and none was made when that was the same question."""
    store, cluster = FakeEtcd(), ClusterState(KEYS)
    partitions = {Partition("t", number): "id" for number in range(6)}
    config = Config("h:handle", ("t",), "kafka:9092", EtcdOptions(("etcd:2379",)), host_id="a")
    planner, seen, asked = Planner(config, cluster, partitions), store.revision, None
    hosts = {"a": 4, "b": 4, "c": 3}
    for changes, is_listed, held in rounds:
        for kind, number, host in changes:
            store.transact(Txn((), tuple(operations(kind, Partition("t", number), host))))
        if is_listed:
            result = store.transact(read_all(KEYS))
            cluster.list_anew(Snapshot(result.revision, tuple(i for found in result.answers for i in found)))
        else:
            for change in store._history:
                if change.item.mod_revision > seen and change.item.key.startswith(prefixes(KEYS)):
                    cluster.change(change)
        seen = store.revision
        owners = {partition: each.lock.host for partition, each in cluster.locks.items()}
        standbys = {p: [each.host for each in ready.values()] for p, ready in cluster.standbys.items() if ready}
        unable = frozenset(name for name, each in cluster.hosts.items() if not each.able)
        unfit = Unfit(unable, frozenset(cluster.drained))
        with patch.object(planner_module, "plan_by_topics", side_effect=plan_by_topics) as made:
            wanted = planner.make(dict(hosts), held)
        from_scratch = plan(hosts, list(partitions), owners, standbys, cluster.moves, held, unfit)
        assert planner.plan == from_scratch
        assert wanted == from_scratch.workers_on("a")
        question = owners, standbys, dict(cluster.moves), held, unfit
        assert made.call_count == (question != asked)
        asked = question


def operations(kind: str, partition: Partition, host: str) -> list[Operation]:
    there = Standby(f"worker-{host}-{partition.number}", host, 1, "1", now())
    match kind:
        case "lock":
            return [Put(KEYS.lock(partition), Lock.naming(there, Cause.ACQUIRED).encode())]
        case "standby":
            return [Put(KEYS.standby(partition, there.worker), there.encode())]
        case "move":
            return [Put(KEYS.move(partition), Move(host, now()).encode())]
        case "ail":
            return [Put(KEYS.host(host), Host(0, "1", 1, "", now(), able=partition.number % 2 == 0).encode())]
        case "drain":
            return [Put(KEYS.drain(host), Drain(now()).encode())]
        case _:
            return [Delete(key) for key in (KEYS.lock(partition), KEYS.standby(partition, there.worker))]


def test_new_partitions_and_other_places_make_another_plan() -> None:
    """They are no changes in etcd."""
    config = Config("h:handle", ("t",), "kafka:9092", EtcdOptions(("etcd:2379",)), host_id="a")
    planner = Planner(config, ClusterState(KEYS), {Partition("t", 0): "id"})
    assert planner.make({"a": 1}, held=False) == {Partition("t", 0): 1}
    planner.learn({Partition("t", number): "id" for number in range(3)})
    assert len(planner.make({"a": 1}, held=False)) == 1
    assert len(planner.make({"a": 3}, held=False)) == 3
