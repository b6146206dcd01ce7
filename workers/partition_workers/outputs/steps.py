"""The steps in which outputs, state and offset become visible together, and why that is safe.

A Kafka transaction makes outputs visible, an etcd transaction makes state and offset durable, and nothing can do both
at once. So a commit with outputs is a *step* with three parts:

1. *prepare*, in etcd, under the token: the step's number, its offset and its state changes as redo, in one key; the
   offset key names the step. A new step for each attempt.
2. *Kafka*: one transaction with the outputs and K, a group offset whose metadata holds the step's number. It is
   committed or it is not, with K.
3. *apply*, in etcd: the redo becomes state and offset, with the next prepare, or alone when it is quiet.

Whoever finds a prepared step asks Kafka: K shows its number: it is done, apply it, nothing is handled again. K shows
the number before it, and nobody can commit it any more: it never happened, handle the records again.

Why it is safe
--------------
1. Every part in etcd is a commit as `ownership/transactions.py` has them: it counts only under the token.
2. Kafka lets one producer commit for a partition: the one that was initialised last (`transactional.id`).
   Initialising fences all others, and has their open transaction decided before it returns.
3. **Whoever commits in Kafka has initialised its producer, and had a prepare accepted after that.** So let N have had
   a prepare accepted under its token, and M get the lock later. N initialised before that prepare, the prepare came
   before M's token, and M initialises after it has the lock. M's producer is the newer one. From then on N commits
   nothing: not with that producer, which is fenced, nor with a new one, because etcd accepts no more prepare of N.
4. Hence what M reads of K *after* initialising is final. That K shows the step is final even before: what is
   committed stays. That K does not show it means nothing before.
5. K shows the *number* of a step (token and sequence, never given twice), not an offset. After `offsets reset` the
   same offset comes again, and an old K that happens to equal it must not pass for a commit that never was.
6. A prepared step counts only while the offset key names it. Every commit writes that key; one by a worker that knows
   nothing of outputs, or a reset, names none, so what it has overtaken is never applied on top of it.
7. K may be gone: Kafka forgets group offsets after a week of silence, and people delete groups. Then nobody can say
   whether the step before it was committed. So a step is prepared only on a K that was seen within the last hour;
   otherwise an *empty* step goes first, with neither outputs nor changes, of which it does not matter whether it
   happened. K that shows neither the step nor the one before it is refused, for a person to look at.

8. Outputs may be with Kafka before their step is prepared: where thousands gather between two steps, they are sent
   *ahead*. Their transaction is open, and nothing of it counts. Rule 3 speaks of who commits, not of who sends. It is
   committed only if all that was sent ahead is of the step that is prepared. So what went back with the state, or was
   left by an owner that died, is never seen: the first is found out at the commit, by the number, the second is
   aborted by whoever initialises next. Only outputs of cuts are sent ahead, for those go back least; and only while
   no step is under way, or they would be in its transaction. They are not kept: when their step was dropped, its
   records are handled again, from the last commit on.

A transaction that failed, whatever the error, is not aborted by us and not tried again. Aborting may initialise
behind our back: when the broker has forgotten the transactional id (it does, after a week) a fenced producer comes
back with a new identity, as Kafka's own issue on INVALID_PRODUCER_ID_MAPPING tells. Instead etcd is asked first
whether the lock is ours, for a zombie that initialises fences the rightful owner; then a new producer is
initialised, K is looked at, and the records go with a *new* step.

Rejected: a marker record in a compacted topic instead of the group offset, for it needs a topic of its own and a read
up to its end; committing to Kafka first, which has nothing to tell a zombie by; K as an offset, see 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING

from partition_workers.errors import PartitionRefused
from partition_workers.layout.documents import Prepared
from partition_workers.outputs.gathered import Gathered

if TYPE_CHECKING:
    from partition_workers.model import Offset, Partition, Token
    from partition_workers.outputs.buffer import Waiting

#: Seconds for which K may be relied upon to stay. Kafka keeps it a week, and at the least some hours.
FRESH = 3600.0

Changes = dict[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Known:
    """K: the number of the step that was committed last, and when, by the wall clock of its owner."""

    number: str
    at: str

    def encode(self) -> str:
        return f"{self.number} {self.at}"

    @classmethod
    def decode(cls, metadata: str) -> Known | None:
        """None: nothing of ours."""
        number, _, at = metadata.partition(" ")
        return cls(number, at) if number and at else None

    def is_fresh(self, at: str) -> bool:
        """Whether it will stay for longer than a step takes. A clock that is wrong costs an empty step."""
        try:
            then, now = datetime.fromisoformat(self.at), datetime.fromisoformat(at)
            return abs((now - then).total_seconds()) < FRESH
        except (ValueError, TypeError):
            return False


@dataclass(frozen=True, slots=True)
class Step:
    """`before`: the number that K showed when it was prepared; "": not known, and the step is empty."""

    number: str
    before: str
    offset: Offset
    changes: Changes
    gathered: Gathered = field(default_factory=Gathered)
    ahead: int = 0
    """So many outputs come before those: they were sent ahead."""

    @property
    def records(self) -> list[Waiting]:
        return self.gathered.records

    @property
    def outputs(self) -> int:
        return self.ahead + len(self.records)

    def prepared(self, at: str) -> Prepared:
        redo = {key: "" if value is None else value.decode() for key, value in self.changes.items()}
        return Prepared(self.number, self.before, self.offset, redo, at)

    @classmethod
    def of(cls, prepared: Prepared) -> Step:
        """What its owner left behind; the outputs are not among it."""
        changes = {key: value.encode() if value else None for key, value in prepared.changes.items()}
        return cls(prepared.number, prepared.before, prepared.offset, changes)


def number_of(token: Token, sequence: int) -> str:
    return f"{token}.{sequence}"


class Verdict(Enum):
    #: Committed in Kafka: apply it.
    DONE = auto()
    #: Never committed, and never will be: forget it.
    DROPPED = auto()
    #: Nothing follows yet: initialise, and look again.
    OPEN = auto()
    #: Kafka shows what none of our steps can have left there.
    UNKNOWN = auto()


def decide(number: str, before: str, known: Known | None, is_fenced: bool) -> Verdict:
    """What became of a prepared step. `is_fenced`: a producer was initialised before `known` was read, by who had the
    lock by then; so nobody else commits any more."""
    if known is not None and known.number == number:
        return Verdict.DONE
    if not is_fenced:
        return Verdict.OPEN
    if not before:
        return Verdict.DROPPED  # an empty step
    return Verdict.DROPPED if known is not None and known.number == before else Verdict.UNKNOWN


def unknown_outcome(partition: Partition, step: Step, known: Known | None) -> PartitionRefused:
    shown = f"shows {known.number}" if known else "has nothing"
    return PartitionRefused(
        f"{partition}: the step {step.number} was prepared for offset {step.offset}, and nobody can say whether its"
        f" outputs were committed: the group offset in Kafka {shown}, and {step.before} was there before it. Was the"
        f" group deleted, or its offsets set? Look at the outputs, and decide where to go on:"
        f" partition-supervisor offsets reset {partition}"
    )
