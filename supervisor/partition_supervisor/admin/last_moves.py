"""How each partition came to the owner that it has: the failover report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from partition_supervisor.admin.group_view import GroupView
from partition_supervisor.admin.history_text import EXIT_SEEN, FIRST_RECORD, Episode, at_phase, duration
from partition_supervisor.admin.render import moment, table
from partition_workers.layout.documents import History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.admin.columns import Columns
    from partition_supervisor.cluster.retry import RetryingStore

COLUMNS = ("PARTITION", "CAME BY", "SINCE", "LAST COMMIT", "EXIT SEEN", "LOCK TAKEN", "STATE LOADED", "FIRST RECORD",
           "FROM OFFSET", "STEP")  # fmt: skip
#: Counted from when the exit was seen; where nobody died, from the last commit.
PHASES = ("lock_taken", "state_loaded", FIRST_RECORD)


def last_moves(store: RetryingStore, keys: Keys, view: GroupView) -> dict[Partition, History]:
    """Of those that have an owner, as it has written it. Raises Unreachable."""
    wanted = [(each.partition, each.token) for each in view.partitions if each.token is not None]
    found: dict[Partition, History] = {}
    items = store.get_each([keys.history(partition, token) for partition, token in wanted])
    for (partition, _), item in zip(wanted, items, strict=True):
        if item is not None:
            with contextlib.suppress(ValueError):  # none of ours: `history` names it
                found[partition] = History.decode(item.value)
    return found


def rows(found: Mapping[Partition, History]) -> Iterator[tuple[str, ...]]:
    """As COLUMNS names them."""
    for partition, record in sorted(found.items()):
        begun = record.gap.get(EXIT_SEEN, 0.0)
        yield (
            str(partition), record.cause, moment(record.since), moment(record.last_commit),
            moment(at_phase(record, EXIT_SEEN)),
            *(f"+{duration(record.gap[phase] - begun)}" if phase in record.gap else "-" for phase in PHASES),
            "-" if record.from_offset is None else str(record.from_offset), record.step or "-",
        )  # fmt: skip


def drawn(found: dict[Partition, History], width: int) -> Columns:
    made = table(COLUMNS, width, right=COLUMNS[4:-1])
    for each in rows(found):
        made.add_row(*each)
    return made


def drawn_history(told: Sequence[Episode], width: int) -> Columns:
    """One row for each ownership: the same, with how it ended."""
    made = table((*COLUMNS[:1], "TOKEN", "HOST", "PID", *COLUMNS[1:], "UNTIL", "ENDING", "TO OFFSET"), width)
    for episode in told:
        record = episode.record
        ((first, *others),) = rows({episode.partition: record})
        to = "-" if record.to_offset is None else str(record.to_offset)
        made.add_row(first, str(record.token), record.host, str(record.pid), *others, moment(record.until),
                     record.ending or ("-" if episode.lasts else "?"), to)  # fmt: skip
    return made
