"""Outputs of cuts that wait for one step, and of which cut each is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from partition_workers.model import Offset
from partition_workers.outputs.buffer import Outputs, Waiting


class Cut(NamedTuple):
    """Of the records from `begin` to before `end`, of which so many were `handled`."""

    begin: Offset
    end: Offset
    handled: int


class Gathered:
    def __init__(self) -> None:
        self.records: list[Waiting] = []
        self.size = 0
        """Bytes that they take."""
        self._cuts: list[tuple[Cut, int]] = []
        """Each with how many outputs there are up to its end."""

    def add(self, cut: Cut, outputs: Outputs) -> None:
        if len(outputs):
            self.size += outputs.size
            self.records += outputs.take()
            self._cuts.append((cut, len(self.records)))

    def append(self, later: Gathered) -> None:
        before = len(self.records)
        self.records += later.records
        self.size += later.size
        self._cuts += [(cut, before + count) for cut, count in later._cuts]

    def cut_of(self, numbers: Iterable[int]) -> Cut | None:
        """In which the outputs of these numbers were made; None: not all in one."""
        found = {next(cut for cut, count in self._cuts if number < count) for number in numbers}
        return found.pop() if len(found) == 1 else None
