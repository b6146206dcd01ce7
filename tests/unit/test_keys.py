"""The keys in etcd, a layout that others rely upon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

KEYS = Keys.of("partition-supervisor", "g")
P = Partition("events", 3)
NAMES = st.from_regex(r"[a-zA-Z0-9._-]{1,30}", fullmatch=True).filter(lambda name: name not in (".", ".."))
PARTITIONS = st.builds(Partition, NAMES, st.integers(0, 999_999))


@given(NAMES, NAMES, PARTITIONS, st.uuids().map(lambda each: each.hex))
def test_a_partition_is_found_again_in_every_kind_of_key(
    prefix: str, group: str, partition: Partition, worker: str
) -> None:
    """Whatever a topic may be called."""
    keys = Keys.of(prefix, group)
    for key in (
        keys.lock(partition),
        keys.offset(partition),
        keys.standby(partition, worker),
        keys.parked(partition),
        keys.attempt(partition),
        keys.history(partition, 17),
        keys.state(partition) + "any/key",
    ):
        assert keys.partition_of(key) == partition


@given(PARTITIONS, PARTITIONS)
def test_no_key_of_a_partition_is_under_a_prefix_of_another(one: Partition, other: Partition) -> None:
    """State and history of events[1] have nothing to do with those of events[10], or of events.1."""
    if one != other:
        assert not KEYS.state(one).startswith(KEYS.state(other))
        assert not KEYS.histories(one).startswith(KEYS.histories(other))
        assert KEYS.lock(one) != KEYS.lock(other)


@given(st.lists(NAMES, min_size=2, max_size=4), PARTITIONS, st.lists(NAMES, min_size=2, max_size=4), PARTITIONS)
def test_no_two_partitions_share_a_producer_and_no_two_groups_what_transactions_move(
    one: list[str], partition: Partition, other: list[str], another: Partition
) -> None:
    """Whatever names have dots in them: two producers under one id would fence each other for ever."""
    keys, others = Keys.of("/".join(one[1:]), one[0]), Keys.of("/".join(other[1:]), other[0])
    if (keys, partition) != (others, another):
        assert keys.transactional_id(partition) != others.transactional_id(another)
    assert (keys.outputs_group == others.outputs_group) == (keys == others)
    assert "/" in keys.outputs_group  # as no --group has


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("g", Partition("a.b", 0)), ("g.a", Partition("b", 0))),
        (("g", Partition("a", 1)), ("g", Partition("a.1", 0))),
    ],
)
def test_dots_in_names_make_no_two_producers_one(one: tuple[str, Partition], other: tuple[str, Partition]) -> None:
    ids = {Keys.of("p", group).transactional_id(partition) for group, partition in (one, other)}
    assert len(ids) == 2


@given(PARTITIONS)
def test_kinds_do_not_overlap(partition: Partition) -> None:
    """One watch on all locks, standbys, hosts and orders sees no commit."""
    prefixes = (KEYS.locks, KEYS.standbys, KEYS.hosts, KEYS.control)
    assert KEYS.lock(partition).startswith(KEYS.locks)
    assert KEYS.standby(partition, "w").startswith(KEYS.standbys)
    assert KEYS.parked(partition).startswith(KEYS.control)
    for key in (KEYS.offset(partition), KEYS.state(partition), KEYS.attempt(partition), KEYS.histories(partition)):
        assert not key.startswith(prefixes)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=2))
def test_history_is_in_the_order_of_tokens(tokens: list[int]) -> None:
    """As etcd sorts keys: by bytes."""
    assert sorted(tokens) == sorted(tokens, key=lambda token: KEYS.history(P, token).encode())


@pytest.mark.parametrize("prefix", ["x", "/x", "x/", "//x//"])
def test_slashes_around_the_prefix_do_not_matter(prefix: str) -> None:
    """People write it in every way."""
    assert Keys.of(prefix, "g").root == "/x/g"


def test_the_layout_is_as_published() -> None:
    """Anyone's tools may rely on it."""
    assert KEYS.lock(P) == "/partition-supervisor/g/locks/events/00003"
    assert KEYS.offset(P) == "/partition-supervisor/g/offsets/events/00003"
    assert KEYS.state(P) == "/partition-supervisor/g/state/events/00003/"
    assert KEYS.attempt(P) == "/partition-supervisor/g/attempts/events/00003"
    assert KEYS.standby(P, "w") == "/partition-supervisor/g/standbys/events/00003/w"
    assert KEYS.history(P, 17) == "/partition-supervisor/g/history/events/00003/00000000000000000017"
    assert KEYS.host("h") == "/partition-supervisor/g/hosts/h"
    assert KEYS.parked(P) == "/partition-supervisor/g/control/parked/events/00003"


@pytest.mark.parametrize("rest", ["locks/events", "locks/events/x", "control/x", "locks", "control/parked/events"])
def test_a_key_that_names_no_partition_is_told_as_such(rest: str) -> None:
    """A foreign key raises ValueError or IndexError, which whoever reads foreign keys expects."""
    with pytest.raises((ValueError, IndexError)):
        KEYS.partition_of(f"{KEYS.root}/{rest}")


@given(PARTITIONS)
def test_a_partition_is_parsed_as_it_is_shown(partition: Partition) -> None:
    """As events[3], and as events/3."""
    assert Partition.parse(str(partition)) == partition
    assert Partition.parse(f"{partition.topic}/{partition.number}") == partition


@pytest.mark.parametrize("text", ["", "events", "events[", "events[x]", "[3]", "/3", "events[-1]"])
def test_what_is_no_partition_is_refused_with_the_two_forms(text: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(ValueError, match="events/3"):
        Partition.parse(text)
