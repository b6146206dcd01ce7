"""How a worker ended, in words."""

from __future__ import annotations

import signal
from enum import StrEnum

from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import UNKNOWN
from partition_workers.errors import ExitCode
from partition_workers.protocol import GaveUp, WasParked


class ExitReason(StrEnum):
    """The same for machines: a few kinds, whatever was said."""

    STOPPED = "stopped"
    PARKED = "parked"
    LOCK_LOST = "lock-lost"
    MISCONFIGURED = "misconfigured"
    KILLED = "killed"
    KILLED_BY_SUPERVISOR = "killed-by-supervisor"
    SIGNAL = "signal"
    CODE = "code"
    UNKNOWN = "unknown"


#: What a worker's own codes mean. It has said so before; the handler's code may end the process with any of them.
_OF_OURS: dict[int, ExitReason] = {
    ExitCode.HANDLER_GAVE_UP: ExitReason.PARKED,
    ExitCode.LOCK_LOST: ExitReason.LOCK_LOST,
    ExitCode.MISCONFIGURED: ExitReason.MISCONFIGURED,
}


def reason_of(code: int, child: Child) -> ExitReason:
    if code < 0:
        if child.ended_by_us:
            return ExitReason.KILLED_BY_SUPERVISOR
        return ExitReason.KILLED if code == -signal.SIGKILL else ExitReason.SIGNAL
    if code == ExitCode.OK and child.is_leaving:
        return ExitReason.STOPPED
    if code == UNKNOWN:
        return ExitReason.UNKNOWN
    return _OF_OURS.get(code, ExitReason.CODE) if child.last_word is not None else ExitReason.CODE


def how_it_ended(code: int, child: Child) -> str:
    match child.last_word:
        case WasParked(offset, reason):
            return f"parked the partition at offset {offset}: {reason}"
        case GaveUp(_, reason):
            return f"ended: {reason}"
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        if -code == signal.SIGKILL and not child.ended_by_us:
            return "was killed by SIGKILL, perhaps out of memory or by hand"
        return f"was ended by {name}" + (" (by its supervisor)" if child.ended_by_us else "")
    if code == UNKNOWN:
        return "is gone; the fork server died before it could tell how it ended, or does not answer"
    if code == ExitCode.OK:
        return "stopped" if child.is_leaving else "ended by itself with code 0"
    return f"ended with code {code}"
