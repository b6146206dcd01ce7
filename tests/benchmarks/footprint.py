"""What processes cost: time of the processor, and memory that is theirs alone or shared, told by the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def cpu_seconds(pids: Iterable[int]) -> float:
    """Used so far by all of them together, to the nanosecond; those that are gone count nothing."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    """The clock of a process: `clock_getcpuclockid(3)`, which Python does not have.

    /proc has the same figure in hundredths of a second, too coarse for an idle process.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def memory(pid: int) -> tuple[float, float]:
    """MiB: what nobody else uses (USS), and that plus its part of what is shared (PSS)."""
    fields: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name] = int(value) / 1024
    return fields["Private_Clean:"] + fields["Private_Dirty:"], fields["Pss:"]
