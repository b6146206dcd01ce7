"""The arithmetic of the benchmarks' probe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks import handling
from tests.benchmarks.probe import Account, Note, Probe, handled_by, handover, owners, silence, silences, takeover

MS = 1_000_000
OLD, NEW = 10, 20


def note(at: float, sequence: int, pid: int, partition: int = 0) -> Note:
    """Handled at so many milliseconds."""
    return Note(partition, pid, sequence, 0, int(at * MS))


BEFORE = [note(0, 0, OLD), note(1, 1, OLD), note(2, 2, OLD)]
AFTER = [note(12, 1, NEW), note(12.1, 2, NEW), note(12.2, 3, NEW), note(13, 4, NEW)]


def test_a_gap_is_from_the_fault_to_the_first_record_of_the_next_owner() -> None:
    found = takeover(BEFORE + AFTER, 0, int(2.5 * MS), OLD)

    assert found is not None
    assert (found.gap, found.silence, found.to) == (9.5, 10.0, NEW)


def test_what_the_next_owner_handles_again_was_replayed() -> None:
    found = takeover(BEFORE + AFTER, 0, int(2.5 * MS), OLD)

    assert found is not None
    assert found.replayed == 2


def test_without_a_record_of_somebody_else_there_is_no_takeover_yet() -> None:
    assert takeover(BEFORE, 0, int(1.5 * MS), OLD) is None
    assert handover(BEFORE, 0, OLD) is None


def test_another_partition_does_not_end_a_gap() -> None:
    others = [note(3, 0, NEW, partition=1)]

    assert takeover(BEFORE + others, 0, int(2.5 * MS), OLD) is None


def test_the_order_of_the_files_does_not_matter() -> None:
    assert takeover(AFTER[::-1] + BEFORE, 0, int(2.5 * MS), OLD) == takeover(BEFORE + AFTER, 0, int(2.5 * MS), OLD)


def test_a_planned_move_is_measured_from_the_last_record_of_the_old_owner() -> None:
    found = handover(BEFORE + AFTER, 0, OLD)

    assert found is not None
    assert (found.gap, found.silence) == (10.0, 10.0)


def test_a_silence_counts_when_it_overlaps_the_time_in_question() -> None:
    notes = [note(0, 0, OLD), note(7, 1, OLD), note(8, 2, OLD), note(30, 3, OLD)]

    assert silence(notes, 0, 5 * MS, 9 * MS) == 22.0
    assert silence(notes, 0, 5 * MS, 8 * MS) == 7.0
    assert silence(notes, 1, 0, 30 * MS) == 0.0


def test_all_silences_of_a_time_are_told() -> None:
    assert silences(BEFORE + AFTER, 0, int(1.5 * MS), int(12.05 * MS)) == pytest.approx([1.0, 10.0, 0.1])


def test_what_a_process_handled_after_it_woke_up_is_told() -> None:
    late = [note(40, 3, OLD), note(41, 9, OLD)]

    assert handled_by(BEFORE + AFTER + late, OLD, 30 * MS) == {(0, 3), (0, 9)}


def test_an_owner_is_who_handled_last() -> None:
    assert owners([*AFTER, *BEFORE, note(1, 0, OLD, partition=1)]) == {0: NEW, 1: OLD}


def test_an_account_tells_what_is_missing_and_what_came_twice() -> None:
    account = Account(bytearray())
    for sequence in (0, 1, 1, 3, 3, 3):
        account.add(sequence)

    assert account.lost(produced=4) == 1
    assert account.lost(produced=6) == 3
    assert account.doubled == 3


class Record:
    def __init__(self, sequence: int) -> None:
        self._value = handling.STAMP.pack(sequence, 5) + b"..."

    def value(self) -> bytes:
        return self._value

    def partition(self) -> int:
        return 3


def test_what_a_handler_notes_is_read_once_and_kept_until_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe()
    monkeypatch.setenv(handling.FOLDER, str(probe.folder))
    monkeypatch.setattr(handling, "_file", None)
    state: dict[str, int] = {}
    try:
        handling.handle(Record(0), state)
        assert [each.sequence for each in probe.look()] == [0]
        handling.handle(Record(2), state)
        handling.handle(Record(2), state)
        found = probe.look()
    finally:
        if handling._file is not None:
            os.close(handling._file)
        probe.close()

    assert [(each.partition, each.pid, each.sequence, each.produced) for each in found] == [
        (3, os.getpid(), sequence, 5) for sequence in (0, 2, 2)
    ]
    assert [each.handled for each in found] == sorted(each.handled for each in found)
    assert (probe.accounts[3].lost(3), probe.accounts[3].doubled) == (1, 1)
    assert state == {"next": 3, "count": 3, "lost": 1, "doubled": 1}
    assert not Path(probe.folder).exists()


def test_half_a_note_is_read_when_it_is_whole() -> None:
    probe = Probe()
    whole = handling.NOTE.pack(0, OLD, 7, 0, 1)
    try:
        with (probe.folder / "1.notes").open("ab", buffering=0) as file:
            file.write(whole[:20])
            assert probe.look() == []
            file.write(whole[20:])
            assert [each.sequence for each in probe.look()] == [7]
    finally:
        probe.close()
