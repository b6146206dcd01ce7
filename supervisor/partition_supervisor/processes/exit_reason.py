"""How a worker ended, in words."""

from __future__ import annotations

import signal

from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import UNKNOWN
from partition_workers.errors import ExitCode
from partition_workers.protocol import GaveUp, WasParked


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
