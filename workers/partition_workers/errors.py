"""Everything that can go wrong, sorted by what the reader should do about it, and the exit codes that say so.

A process ends with the code of the error that ended it; the table is part of the public interface.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How our processes end. Negative codes, as Python shows them, are signals. `meaning` is what the pages say."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> ExitCode:
        made = int.__new__(cls, number)
        made._value_ = number
        made.meaning = meaning
        return made

    OK = 0, "stopped as asked"
    UNEXPECTED = 1, "an error that should not happen; please report it"
    USAGE = 2, "the command line is wrong"
    CONDITION_NOT_MET = (
        3,
        "`check` or `status --check` found something, `--wait` was not long enough, `offsets reset` or `offsets"
        " forget` found an owner, or `resume` would have passed over records",
    )
    UNREACHABLE = 69, "Kafka or etcd did not answer at the start, or etcd is another cluster than it was then"
    HANDLER_GAVE_UP = 70, "worker: the handler gave up, the partition is parked"
    LOCK_LOST = 75, "worker: the lock or the lease is lost; a new standby is started"
    MISCONFIGURED = 78, "bad configuration; no retry helps"


class PartitionSupervisorError(Exception):
    """Base of every error of this program. Its text is written for the person who has to act."""

    exit_code = ExitCode.UNEXPECTED


# --- try again, in this process, later -----------------------------------------------------------------------


class Retry(PartitionSupervisorError):
    """Raised when the same call may succeed later or at another endpoint."""

    exit_code = ExitCode.UNREACHABLE


class Unavailable(Retry):
    """Raised when a server did not answer in time or the connection broke.

    The outcome of a write is then *unknown*, never "failed": run the same transaction again. For handlers to raise
    too, when what they need is away: it is waited for, and held against no record.
    """


class Compacted(Retry):
    """Raised when a watch or a page asks for revisions that etcd has already forgotten: list again."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"etcd has compacted its history up to revision {revision}")
        self.revision = revision


class TooLarge(Retry):
    """Raised when an answer is larger than something between etcd and us lets through: ask for less at once."""


class NoSpace(Retry):
    """Raised when etcd's database quota is used up: locks are kept, nothing can be committed."""


class Denied(Retry):
    """Raised when etcd does not let us, for want of a right, or of a name and password that it accepts.

    A state that a person can change while we run. At the start, and in commands, it ends them: that person is there.
    """

    exit_code = ExitCode.MISCONFIGURED


# --- stop: somebody else owns it --------------------------------------------------------------------------


class Lost(PartitionSupervisorError):
    """Raised when this worker's lock or lease is gone for good. Never retried: exit, start afresh as a standby."""

    exit_code = ExitCode.LOCK_LOST


class LeaseGone(Lost):
    """Raised when etcd does not know a lease (any more)."""


class Stale(Lost):
    """Raised when a target outside shows that a newer owner has been there. For handlers to raise too."""


class ClusterReplaced(Lost):
    """Raised when every endpoint is of another etcd cluster than at our start: what we know of locks, leases and
    revisions is of no worth there. Ends the process; the next one begins with that cluster."""


# --- stop: a person has to look -----------------------------------------------------------------------------


class HandlerFailed(PartitionSupervisorError):
    """Raised when the user's handler gave up on a record after all its retries."""

    exit_code = ExitCode.HANDLER_GAVE_UP


class StateInvalid(PartitionSupervisorError):
    """Raised when a handler left something in its state that is not JSON. Goes the way of a handler's error."""


class StateTooLarge(PartitionSupervisorError):
    """Raised when one record changes more state than fits one transaction. Goes the way of a handler's error."""


class FlushFailed(PartitionSupervisorError):
    """Raised when a handler's flush() raised, which is its `__cause__`. Goes the way of a handler's error."""


class OutputInvalid(PartitionSupervisorError):
    """Raised by `produce` for a record that cannot be sent. Goes the way of a handler's error."""


class ResultThrownAway(PartitionSupervisorError):
    """Raised when a handler returned something: nobody looks at it. Goes the way of a handler's error."""


class PartitionRefused(PartitionSupervisorError):
    """Raised when a partition must not be touched until a person decided: offsets that no longer exist,
    a topic that was created anew, a store that was restored from an old copy."""

    exit_code = ExitCode.HANDLER_GAVE_UP


class TopicMadeAnew(PartitionRefused):
    """Raised when the topic was deleted and created again under its name: the offset means nothing any more."""

    def __init__(self, partition: object, offset: int) -> None:
        super().__init__(
            f"{partition}: the topic was deleted and created anew, so offset {offset} means nothing any more; of the"
            " new one nothing was skipped. Decide where to go on:"
            f" partition-supervisor offsets reset {partition} --to-earliest --execute"
        )


class Misconfigured(PartitionSupervisorError):
    """Raised when no retry can help: a handler that cannot be imported, an option out of range."""

    exit_code = ExitCode.MISCONFIGURED


class Refused(Misconfigured):
    """Raised when a server understood the call and will never accept it: permissions, invalid arguments."""


class RequestTooLarge(Refused):
    """Raised when a request has more bytes or operations than this etcd takes. Nothing of it was done."""


class TooManyOperations(RequestTooLarge):
    """Raised when it is their number: etcd's --max-txn-ops, or one that knows no transactions inside another."""


class OutputsRefused(RequestTooLarge):
    """Raised when a broker refused one of the records that were produced, for its size or for what it is: nothing of
    its step was done, and the next time `produce` itself refuses it."""


class OutputsLost(PartitionSupervisorError):
    """Raised when outputs were not seen to be sent and are not kept: nothing of their step was done, and its records
    have to be handled again."""


class Unreachable(PartitionSupervisorError):
    """Raised when Kafka or etcd cannot be reached at start."""

    exit_code = ExitCode.UNREACHABLE


class Bug(PartitionSupervisorError):
    """Raised when the store shows what no sequence of our transactions can produce. Stop loudly."""


#: What a cut may raise that is of the records in it.
OF_A_CUT = (FlushFailed, StateInvalid, StateTooLarge)
#: What a handler may raise that says nothing about the record at hand.
NOT_OF_THE_RECORD = (Lost, PartitionRefused, Misconfigured, Bug, Unavailable)
