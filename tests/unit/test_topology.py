"""Which host has which partitions, in words and for programs."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from partition_supervisor.admin.group_view import GroupView, HostView, PartitionState, PartitionView, Worker
from partition_supervisor.admin.topology import Topology, in_short
from partition_supervisor.commands.topology import drawn
from partition_workers.model import Partition


def owned(number: int, host: str, *standbys: str) -> PartitionView:
    others = tuple(Worker(each, number, f"{each}-{number}") for each in standbys)
    return PartitionView(
        Partition("t", number), PartitionState.OWNED, owner=Worker(host, 1, f"w{number}"), standbys=others
    )  # fmt: skip


def host(name: str) -> HostView:
    return HostView(name, 1, 0, "1", "", False)


VIEW = GroupView(
    (
        owned(0, "a", "b"), owned(1, "a", "b"), owned(2, "b", "a", "a"), owned(3, "gone"),
        PartitionView(Partition("t", 4), PartitionState.UNOWNED),
        PartitionView(Partition("t", 5), PartitionState.PARKED),
    ),
    (host("a"), host("b"), host("idle")),
)  # fmt: skip


def test_hosts_have_what_they_own_and_stand_by_for() -> None:
    """A host that is named in a lock and runs no more is there too; and one that has nothing."""
    found = Topology.of(VIEW)
    assert ([str(p) for p in found.unowned], [str(p) for p in found.parked]) == (["t[4]"], ["t[5]"])
    assert [(each.host, each.is_running, in_short(each.owns), in_short(each.stands_by)) for each in found.hosts] == [
        ("a", True, "t[0-1]", "t[2]"),
        ("b", True, "t[2]", "t[0-1]"),
        ("gone", False, "t[3]", ""),
        ("idle", True, "", ""),
    ]


def test_rows_begin_with_what_nobody_has() -> None:
    rows = list(Topology.of(VIEW).rows())
    assert [(host, role) for host, role, _ in rows[:3]] == [("", "unowned"), ("", "parked"), ("a", "owner")]
    assert len(rows) == 2 + 4 + 3


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_what_nobody_has_is_drawn_beside_the_hosts(wide: bool, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(Topology.of(VIEW), width, wide), crop=False)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    if width == 200:
        assert ("STANDBYS OF" in text) == wide
        assert [line.split()[0] for line in text.splitlines()[1:4]] == ["(unowned)", "(parked)", "a"]


@given(st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 30))))
def test_the_short_form_says_exactly_which(chosen: set[tuple[str, int]]) -> None:
    """However many there are, and in whatever runs."""
    text = in_short(Partition(*each) for each in chosen)
    told = set()
    for word in text.split():
        topic, _, runs = word.removesuffix("]").partition("[")
        for run in runs.split(","):
            first, _, last = run.partition("-")
            told |= {(topic, number) for number in range(int(first), int(last or first) + 1)}
    assert told == chosen
