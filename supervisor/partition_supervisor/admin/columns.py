"""A table for people, of a thousand rows as well: rich's own takes a millisecond for each row, and there are many."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from partition_supervisor.printable import printable

#: Narrower than this no column is made.
NARROW = 4


@dataclass(frozen=True, slots=True)
class Column:
    """`right`: numbers stand on the right. `folds`: it may become narrower than its longest cell."""

    heading: str
    right: bool = False
    folds: bool = False


class Columns:
    """A rich renderable. Cells may have several lines; what cannot be printed in them is shown as a question mark."""

    def __init__(self, columns: Collection[Column], gap: int) -> None:
        self._columns, self._gap = tuple(columns), gap
        self._rows: list[tuple[tuple[str, ...], str]] = [(tuple(each.heading for each in self._columns), "bold")]

    def add_row(self, *cells: str, style: str = "") -> None:
        """Cells that are missing at its end are empty."""
        missing = ("",) * (len(self._columns) - len(cells))
        self._rows.append((tuple(printable(each).expandtabs(1) for each in (*cells, *missing)), style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width)
        for cells, style in self._rows:
            look = console.get_style(style) if style else None
            for line in self._lines(cells, widths):
                yield Segment(line, look)
                yield Segment.line()

    def _widths(self, room: int) -> list[int]:
        """As wide as the longest cell; where there is no room for that, the widest that fold become narrower."""
        widths = [
            max(width_of(line) for cells, _ in self._rows for line in cells[number].split("\n"))
            for number in range(len(self._columns))
        ]
        excess = sum(widths) + self._gap * (len(widths) - 1) - room
        headings = [max(map(width_of, each.heading.split("\n"))) for each in self._columns]
        for least in (headings, [NARROW] * len(widths)):  # headings fold last
            while excess > 0:
                able = [
                    number
                    for number, each in enumerate(self._columns)
                    if each.folds and widths[number] > least[number]
                ]
                if not able:
                    break
                widths[max(able, key=widths.__getitem__)] -= 1
                excess -= 1
        return widths

    def _lines(self, cells: tuple[str, ...], widths: list[int]) -> Iterator[str]:
        parts = [
            [cell] if "\n" not in cell and width_of(cell) <= width else folded(cell, width)
            for cell, width in zip(cells, widths, strict=True)
        ]
        for number in range(max(map(len, parts))):
            line = [
                padded(part[number] if number < len(part) else "", width, column.right)
                for part, width, column in zip(parts, widths, self._columns, strict=True)
            ]
            yield (" " * self._gap).join(line).rstrip()


def width_of(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def padded(text: str, width: int, right: bool) -> str:
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def folded(cell: str, width: int) -> list[str]:
    """Between words where there are some."""
    lines = []
    for line in cell.split("\n"):
        if line.isascii():
            lines += textwrap.wrap(line, width, break_on_hyphens=False) or [""]
        else:
            lines += chop_cells(line, width) or [""]
    return lines
