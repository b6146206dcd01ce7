"""The exact etcd transactions by which partitions change hands and state is stored.

Why they are safe
-----------------
For a partition, let L be its lock key and O its offset key. etcd gives every transaction a revision of its own,
and every key remembers the revision that wrote it last (`mod_revision`). The *token* of an ownership is L's
`mod_revision`.

1. *Any* write to L changes its `mod_revision`, so it ends the ownership that it wrote over, whoever wrote it and
   for whatever reason. Revisions only grow, so tokens only grow.
2. Every write to O and to the state compares `mod_revision(L) == token` in the same transaction. A worker that
   was paused, cut off, or declared dead too early can therefore still *try*; etcd refuses it. Clocks, leases and
   processes may do what they like: they decide how *soon* somebody takes over, never whether two can commit.
3. It also compares `mod_revision(O)` with what this owner saw last. So a transaction can be sent twice: when the
   first copy had landed, the second fails, and the else branch shows our own token and sequence in O. That is
   why an unknown outcome is answered by running the very same transaction again (see `decide`).
4. State and offset are put by one transaction. There is no instant at which they disagree.
5. A hand-over writes the last commit and the successor's name at one revision: no instant without an owner,
   no record between the two.

What this does not protect: anything a handler does outside its state. Holding the lock does not stop a paused
process from acting; a target that checks the token does.

Rejected: a lock key of its own for each contender (as etcd's recipes do), because naming a successor would then
need two keys; `create_revision` as token, because a hand-over would have to delete and create; leases shared by
several partitions, because one stuck worker would take its neighbours along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from enum import Enum, auto

from partition_workers.errors import Bug, Lost
from partition_workers.etcd.store import (
    Compare,
    Delete,
    Get,
    KeyValue,
    Operation,
    Put,
    PutMany,
    Target,
    Txn,
    TxnResult,
)
from partition_workers.layout.documents import History, Lock, Parked, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token

#: etcd's limits are 4,096 operations, as we write them, and 1.5 MiB; the rest is left for the lock, the offset and
#: the history. An etcd that is set up to take less says so, and `commits.py` goes by that.
MAX_STATE_KEYS = 4000
#: Changed keys that are stored as one value. What limits them is their bytes; but somebody has to read them.
MAX_CHANGED_KEYS = 40_000
MAX_STATE_BYTES = 1024 * 1024
#: A state of more keys than this is not read in one answer, even if nobody has noted that it is large.
WHOLE = 10_000


def acquire(keys: Keys, partition: Partition, lock: Lock) -> Txn:
    """Take a lock that nobody holds. The state is read afterwards: every member does what a transaction that writes
    asks for, and while they read a state of some size nobody can commit anything.

    Refused while the partition is parked. The token is the revision of the result.
    """
    return Txn(
        compare=(
            Compare(keys.lock(partition), Target.VERSION, 0),
            Compare(keys.parked(partition), Target.VERSION, 0),
        ),
        success=(
            Put(keys.lock(partition), lock.encode(), int(lock.lease, 16)),
            Delete(keys.standby(partition, lock.worker)),
            *_standing(keys, partition),
        ),
        failure=(Get(keys.lock(partition)), Get(keys.parked(partition))),
    )


def confirm(keys: Keys, partition: Partition, token: Token, serializable: bool = True, whole: bool = True) -> Txn:
    """A standby that was named makes sure that it is the owner, and reads where the partition stands.

    `whole`: with its state, unless that is noted to be large; such a one is read in pages. So a small state costs
    no further question, and a large one no answer that is too large to arrive in time.

    It writes nothing, and no member asks another: somebody waits for the next record. A member that shows the lock
    at `token` knows everything up to that revision, so every commit that was ever let through before; and what
    came after it can only be our own. It may not know that the lock was since given to somebody else. Nor would
    the newest answer, by the time it arrives: every commit compares the token.
    """
    standing = _standing(keys, partition)
    if not whole:
        return Txn((_mine(keys, partition, token),), standing, (Get(keys.lock(partition)),), serializable)
    is_small = Compare(keys.size(partition), Target.VERSION, 0)
    state = Get(keys.state(partition), prefix=True, limit=WHOLE)
    return Txn((_mine(keys, partition, token), is_small), (*standing, state), standing, serializable)


def enter(keys: Keys, partition: Partition, begun: History) -> tuple[Operation, ...]:
    """Part of an owner's first commit, which goes out before its first record: it is here, and a standby no more."""
    return Put(keys.history(partition, begun.token), begun.encode()), Delete(keys.standby(partition, begun.worker))


def commit(
    keys: Keys,
    partition: Partition,
    seen: int,
    offset: StoredOffset,
    changes: Mapping[str, bytes | None],
    extra: tuple[Operation, ...] = (),
) -> Txn:
    """Store state changes (None: delete) and offset; `seen` is the mod_revision of O that we know (0: none).

    `extra` goes into the same success branch: history, an attempt, changes that are stored as one value, or the last
    word on the lock.
    """
    return Txn(
        compare=(
            _mine(keys, partition, offset.token),
            Compare(keys.offset(partition), Target.MOD_REVISION, seen),
        ),
        success=(Put(keys.offset(partition), offset.encode()), *extra),
        failure=(Get(keys.lock(partition)), Get(keys.offset(partition))),
        many=PutMany(keys.state(partition), changes) if changes else None,
    )


def give_to(keys: Keys, partition: Partition, successor: Lock) -> tuple[Operation, ...]:
    """The end of a commit that hands the lock over."""
    return (Put(keys.lock(partition), successor.encode(), int(successor.lease, 16)),)


def let_go(keys: Keys, partition: Partition) -> tuple[Operation, ...]:
    """The end of a commit that releases the lock."""
    return (Delete(keys.lock(partition)),)


def park(keys: Keys, partition: Partition, parked: Parked) -> tuple[Operation, ...]:
    """The end of a commit that releases the lock and lets nobody take it until a person said so."""
    return (Put(keys.parked(partition), parked.encode()), *let_go(keys, partition))


def park_unread(keys: Keys, partition: Partition, token: Token, parked: Parked) -> Txn:
    """The same by an owner that has committed nothing, because it cannot read what is there."""
    return Txn((_mine(keys, partition, token),), park(keys, partition, parked))


def take_over(keys: Keys, partition: Partition, token: Token, successor: Lock | None) -> Txn:
    """A supervisor gives a dead worker's lock to a standby, or frees it when there is none.

    `token` is the dead worker's. The result's revision is the successor's token.
    """
    last_word = give_to(keys, partition, successor) if successor else let_go(keys, partition)
    return Txn((_mine(keys, partition, token),), last_word, (Get(keys.lock(partition)),))


def pass_on(keys: Keys, partition: Partition, token: Token, successor: Lock | None) -> Txn:
    """Impatience: the successor named under `token` has not entered; name another, unless it just did."""
    txn = take_over(keys, partition, token, successor)
    absent = Compare(keys.history(partition, token), Target.VERSION, 0)
    return Txn((*txn.compare, absent), txn.success, txn.failure)


def has_not_entered(keys: Keys, partition: Partition, token: Token) -> Txn:
    """Whether the successor named under `token` has the lock and has given no sign of life in etcd yet."""
    absent = Compare(keys.history(partition, token), Target.VERSION, 0)
    return Txn((_mine(keys, partition, token), absent), ())


def enter_before_loading(keys: Keys, partition: Partition, begun: History) -> Txn:
    """What else goes with the first commit, said before a state is read that takes long: nobody may become impatient
    with an owner that is at work. The same again with the first commit changes nothing."""
    return Txn((_mine(keys, partition, begun.token),), enter(keys, partition, begun), (Get(keys.lock(partition)),))


def leave_unread(keys: Keys, partition: Partition, closed: History, successor: Lock | None) -> Txn:
    """An owner that was told to leave before it had read the state: it has nothing to commit."""
    last_word = give_to(keys, partition, successor) if successor else let_go(keys, partition)
    record = Put(keys.history(partition, closed.token), closed.encode())
    return Txn((_mine(keys, partition, closed.token),), (record, *last_word), (Get(keys.lock(partition)),))


def still_mine(keys: Keys, partition: Partition, token: Token) -> Txn:
    """Asked by an owner that was late with its lease, before it handles another record."""
    return Txn((_mine(keys, partition, token),), (), (Get(keys.lock(partition)),))


class Verdict(Enum):
    """What a refused commit means."""

    LANDED = auto()
    LOST = auto()
    IMPOSSIBLE = auto()


def decide(result: TxnResult, sent: StoredOffset) -> tuple[Verdict, int]:
    """Judge a commit that etcd refused, from its else branch; the number is O's mod_revision, 0 when it was LOST.

    O is looked at first: a hand-over that had landed leaves a lock that is no longer ours *and* our own sequence
    in O. If O does not show it, a lock that changed means lost; an unchanged one is a bug of ours.
    """
    lock, offset = result.answers[-2:]
    if offset:
        with contextlib.suppress(ValueError):  # somebody wrote over it
            stored = StoredOffset.decode(offset[0].value)
            if (stored.token, stored.sequence) == (sent.token, sent.sequence):
                return Verdict.LANDED, offset[0].mod_revision
    if not is_written_at(lock, sent.token):
        return Verdict.LOST, 0
    return Verdict.IMPOSSIBLE, offset[0].mod_revision if offset else 0


def revision_of(partition: Partition, result: TxnResult, sent: StoredOffset) -> int:
    """The revision at which what was `sent` is stored. Raises Lost when somebody else has the lock."""
    verdict, revision = decide(result, sent)
    if verdict is Verdict.LOST:
        raise Lost(f"{partition} has another owner by now: a commit under token {sent.token} was refused")
    if verdict is Verdict.IMPOSSIBLE:
        raise Bug(f"{partition}: the lock is ours, the last commit is not: {result.answers!r}")
    return revision


def _mine(keys: Keys, partition: Partition, token: Token) -> Compare:
    return Compare(keys.lock(partition), Target.MOD_REVISION, token)


def is_written_at(lock: tuple[KeyValue, ...], token: Token) -> bool:
    return bool(lock) and lock[0].mod_revision == token


#: How many answers `_standing` gets.
STANDING = 5


def _standing(keys: Keys, partition: Partition) -> tuple[Operation, ...]:
    """Where a partition stands: all that an owner has to know, but its state."""
    return (
        Get(keys.lock(partition)),
        Get(keys.offset(partition)),
        Get(keys.attempt(partition)),
        Get(keys.size(partition)),
        Get(keys.changes(partition), prefix=True, limit=1, names=True),
    )
