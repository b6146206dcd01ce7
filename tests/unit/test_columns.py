"""The table for people: nothing is lost, numbers are never cut, and what is too wide folds where it may."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from partition_supervisor.admin.columns import NARROW, Column, Columns, folded
from partition_supervisor.commands.errors import Failure
from partition_supervisor.commands.status import complain
from partition_supervisor.printable import printable
from partition_workers.errors import Misconfigured

COLUMNS = (Column("PARTITION", folds=True), Column("OWNER", folds=True), Column("LAG", right=True), Column("SINCE"))
#: What a name, a number and a time may be.
CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
ROW = st.tuples(CELL, CELL, st.integers(0, 10**18).map(str), st.sampled_from(["-", "12:00:00", "2030-01-01"]))


def shown(rows: list[tuple[str, ...]], width: int, styled: bool = False) -> str:
    made = Columns(COLUMNS, gap=2)
    for each in rows:
        made.add_row(*each, style="red")
    console = Console(
        width=width, file=io.StringIO(), force_terminal=styled, color_system="standard" if styled else None
    )
    with console.capture() as lines:
        console.print(made, crop=False)
    return lines.get()


def test_numbers_stand_on_the_right_and_nothing_behind_the_last_cell() -> None:
    assert shown([("events[0]", "host-a", "7", "-"), ("events[10]", "b", "1234", "12:00:00")], 100) == (
        "PARTITION   OWNER    LAG  SINCE\nevents[0]   host-a     7  -\nevents[10]  b       1234  12:00:00\n"
    )


def test_only_names_fold_and_the_widest_first() -> None:
    assert shown([("a-topic-with-a-name[0]", "host-a", "123456", "12:00:00")], 40) == (
        "PARTITION       OWNER      LAG  SINCE\na-topic-with-a  host-a  123456  12:00:00\n-name[0]\n"
    )


@given(st.lists(ROW, max_size=5), st.integers(1, 200))
def test_nothing_is_lost_and_numbers_are_whole(rows: list[tuple[str, ...]], width: int) -> None:
    """Whatever the room, and whatever the cells hold."""
    text = shown(rows, width)
    for name, owner, number, since in rows:
        assert number in text
        assert since in text
        for cell in (name, owner):
            for each in "".join(printable(cell).split()):
                assert each in text


@given(CELL, st.integers(NARROW, 30))
def test_no_part_of_a_folded_cell_is_wider_than_its_column(cell: str, width: int) -> None:
    assert all(cell_len(each) <= width for each in folded(printable(cell), width))


@given(CELL)
def test_what_a_terminal_would_obey_is_not_printed(cell: str) -> None:
    text = shown([(cell, "\x1b[2J\u202e", "1", "-")], 80)
    assert all(each.isprintable() or each == "\n" for each in text)


def test_cells_that_are_missing_are_empty() -> None:
    assert shown([("events[3]", "a")], 80).splitlines()[1] == "events[3]  a"


def test_a_row_has_its_colour() -> None:
    lines = shown([("events[0]", "host-a", "7", "-")], 100, styled=True).splitlines()
    assert lines[0].startswith("\x1b[1m")
    assert lines[1].startswith("\x1b[31m")


def test_columns_that_are_as_wide_give_way_alike() -> None:
    """And none below its heading while there is room elsewhere."""
    first = shown([("a" * 50, "b" * 50, "123456", "12:00:00")], 60).splitlines()[1].split()
    assert [len(each) for each in first] == [20, 20, 6, 8]


def test_what_others_wrote_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In complaints and errors, as in tables. Lines stay lines."""
    hostile = "parked: \x1b]0;title\x07\x1b[2J\r\u202eevil\nsecond line"
    complain(hostile)
    Failure(Misconfigured(hostile)).show()
    printed = capsys.readouterr().err
    assert printed.count("second line") == 2
    assert all(each.isprintable() or each == "\n" for each in printed)
