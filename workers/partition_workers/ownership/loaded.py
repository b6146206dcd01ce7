"""What a partition looked like when its lock became ours: read from the answers of etcd."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partition_workers.etcd.store import KeyValue, TxnResult
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import Attempt, Lock, Size, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token
from partition_workers.ownership import transactions

if TYPE_CHECKING:
    from partition_workers.outputs.steps import Known, Step


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a partition looked like when its lock became ours.

    `state` is as of `revision`, and unless it is `complete` there may be more, after the last of its keys. As nobody
    writes the state but who holds the lock under `token`, it is the same as of any later revision, for as long as
    that is ours.
    """

    token: Token
    lock: Lock
    offset: StoredOffset | None
    offset_revision: int
    state: dict[str, bytes]
    changes: dict[int, Changes]
    is_folded: bool
    attempt: Attempt | None
    size: Size | None
    revision: int
    complete: bool
    #: With outputs: a step that was prepared and is committed in Kafka; and the producer that is being initialised.
    left: Step | None = None
    opening: Future[Known | None] | None = None

    @property
    def step(self) -> str | None:
        """What becomes of the step with outputs that the predecessor had prepared, and its number."""
        return f"{'applied' if self.left is not None else 'dropped'} {self.prepared}" if self.prepared else None

    @property
    def prepared(self) -> str:
        """The number of a step with outputs that was prepared, and that nobody has applied or dropped; "": none."""
        return self.offset.prepared if self.offset is not None else ""

    @property
    def deaths(self) -> int:
        """How many owners have died in a row without getting on: as whoever named us knew, or as is stored."""
        return max(self.lock.deaths, self.offset.deaths if self.offset else 0)


def acquired(keys: Keys, partition: Partition, result: TxnResult) -> Loaded:
    """Read the answer of a successful `acquire`: nothing of the state."""
    return _loaded(keys, partition, result.revision, result.answers[2:], None)


def confirmed(keys: Keys, partition: Partition, token: Token, result: TxnResult) -> Loaded | None:
    """Read the answer of a `confirm`. None: the lock is not at `token`, as far as who answered knows."""
    standing, state = result.answers[: transactions.STANDING], result.answers[transactions.STANDING :]
    if not transactions.is_written_at(standing[0], token):
        return None
    return _loaded(keys, partition, result.revision, standing, state[0] if state else None)


def _loaded(
    keys: Keys,
    partition: Partition,
    revision: int,
    standing: tuple[tuple[KeyValue, ...], ...],
    state: tuple[KeyValue, ...] | None,
) -> Loaded:
    (lock,), offsets, attempts, sizes, changes = standing
    prefix = len(keys.state(partition))
    return Loaded(
        token=lock.mod_revision,
        lock=Lock.decode(lock.value),
        offset=StoredOffset.decode(offsets[0].value) if offsets else None,
        offset_revision=offsets[0].mod_revision if offsets else 0,
        state={each.key[prefix:]: each.value for each in state or ()},
        changes={},
        is_folded=not changes,
        attempt=Attempt.decode(attempts[0].value) if attempts else None,
        size=Size.decode(sizes[0].value) if sizes else None,
        revision=revision,
        complete=state is not None and len(state) < transactions.WHOLE and not changes,
    )
