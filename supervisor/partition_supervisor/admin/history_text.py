"""History in words: who owned a partition, from which offset to which, why it began and ended, and the gap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from partition_workers.layout.documents import Cause, Ending, History
from partition_workers.model import JSON, Partition, Token

SCHEMA_VERSION = 1
#: The phases of a gap, as they are called here.
PHASES = {"lock_taken": "lock", "state_loaded": "state", "first_record": "first record"}
FIRST_RECORD, EXIT_SEEN = "first_record", "exit_seen"
#: For programs that read columns; times of the gap in milliseconds after last_commit.
TSV = (
    "topic", "partition", "token", "cause", "host", "pid", "worker", "since", "from_offset", "last_commit",
    "exit_seen", "lock_taken", "state_loaded", "first_record", "until", "to_offset", "ending", "reason",
    "step",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Episode:
    """One ownership among its neighbours, as far as they are remembered. `lasts`: the lock is still this owner's."""

    partition: Partition
    record: History
    before: History | None = None
    after: History | None = None
    lasts: bool = False

    def as_json(self) -> dict[str, JSON]:
        return {"topic": self.partition.topic, "partition": self.partition.number, **dataclasses.asdict(self.record)}


def episodes(found: Mapping[Partition, Sequence[History]], tokens: Mapping[Partition, Token]) -> list[Episode]:
    """All of them, newest last: a token is a revision, so tokens tell the order across partitions, too."""
    told = []
    for partition, unsorted in found.items():
        records = sorted(unsorted, key=lambda record: record.token)
        owners = [record for record in records if record.ending != Ending.NOT_TAKEN]
        for record in records:
            before = next((each for each in reversed(owners) if each.token < record.token), None)
            after = next((each for each in owners if each.token > record.token), None)
            told.append(Episode(partition, record, before, after, tokens.get(partition) == record.token))
    return sorted(told, key=lambda episode: episode.record.token)


def as_json(told: Iterable[Episode]) -> dict[str, JSON]:
    return {"schema_version": SCHEMA_VERSION, "history": [episode.as_json() for episode in told]}


def cells(episode: Episode) -> tuple[object, ...]:
    """As TSV names them; None for what is not known."""
    fields = {**dataclasses.asdict(episode.record), **episode.record.gap}
    return (*episode.partition, *(fields.get(name) for name in TSV[2:]))


def in_words(told: Sequence[Episode], today: date) -> list[str]:
    """Two lines for each: how it began, and how it ended."""
    width = max((len(str(episode.partition)) for episode in told), default=0)
    lines = []
    for episode in told:
        when = moment(episode.record.since, today)
        lines.append(f"{when}  {episode.partition!s:<{width}}  {beginning(episode)}")
        lines.append(f"{'':{len(when)}}  {'':<{width}}  {ending(episode, today)}")
    return lines


def at_phase(record: History, phase: str) -> str | None:
    """When this phase of its gap was, as documents have times; None: it is not known."""
    try:
        last_commit = datetime.fromisoformat(record.last_commit or "")
        return (last_commit + timedelta(milliseconds=record.gap[phase])).isoformat()
    except (ValueError, KeyError, OverflowError):  # beyond the years that there are
        return None


def beginning(episode: Episode) -> str:
    record, before = episode.record, episode.before
    offset = "" if record.from_offset is None else f" at offset {record.from_offset:,}"
    came_by = (
        _was_given(record.cause, before) if record.ending == Ending.NOT_TAKEN else _came_by(record.cause, before)
    )
    words = f"{record.host} (pid {record.pid}) {came_by}{offset}, token {record.token}"
    gap, step = told_gap(record.gap), record.step
    words = f"{words}: {gap}" if gap else words
    return f"{words}; it {step.replace(' ', ' step ', 1)} of its predecessor's outputs" if step else words


def _came_by(cause: str, before: History | None) -> str:
    other = before.host if before else ""
    match cause:
        case Cause.TAKEN_OVER:
            return f"took over from {other}" if other else "took over"
        case Cause.HANDED_OVER:
            return f"was handed it by {other}" if other else "was handed it"
        case Cause.ACQUIRED:
            return f"acquired it, after {other}," if other else "acquired it"
        case _:
            return f"got it ({cause})"


def _was_given(cause: str, before: History | None) -> str:
    other = f" by {before.host}" if before and cause == Cause.HANDED_OVER else ""
    dead = f", after {before.host} died," if before and cause == Cause.TAKEN_OVER else ""
    return f"was offered it{other}{dead}"


def told_gap(gap: Mapping[str, float]) -> str:
    """Counted from when the predecessor's exit was seen; else from the last commit before."""
    if FIRST_RECORD not in gap:
        return ""
    start = gap.get(EXIT_SEEN, 0.0)
    event = "the exit was seen" if EXIT_SEEN in gap else "the last commit"
    phases = ", ".join(f"{name} {duration(gap[key] - start)}" for key, name in PHASES.items() if key in gap)
    return f"{duration(gap[FIRST_RECORD] - start)} after {event} ({phases})"


def ending(episode: Episode, today: date) -> str:
    record = episode.record
    if record.until is None:
        return "still the owner" if episode.lasts else "how it ended is not known yet"
    offset = "" if record.to_offset is None else f", offset {record.to_offset:,}"
    return f"until {moment(record.until, today)}{offset}: {_went(episode)}"


def _went(episode: Episode) -> str:
    record, after = episode.record, episode.after
    match record.ending:
        case Ending.HANDED_OVER:
            words = f"handed over to {after.host}" if after else "handed over"
        case Ending.STOPPED:
            words = "released"
        case Ending.NOT_TAKEN:
            words = "did not take it"
        case _:
            words = record.ending or "ended"
    return f"{words}: {record.reason}" if record.reason else words


def duration(milliseconds: float) -> str:
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"


def moment(written: str, today: date) -> str:
    """A time of a document in the reader's time zone, with the day if it is not today."""
    try:
        local = datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError):
        return written
    clock = local.isoformat(sep=" ", timespec="milliseconds")[: len("2030-01-01 00:00:00.000")]
    return clock[len("2030-01-01 ") :] if local.date() == today else clock
