"""The least and the most of every number that can be set: what is none of these, nan and infinity too, is refused
where it is read.

Without the upper ends a slip of the pen is an error hours later: the kernel counts the time that is waited for in
milliseconds of 32 bits, which are 24 days, and Python's numbers have no end at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Seconds.
MOMENT, DAY, WEEK = 0.001, 86_400, 604_800
#: Of Kafka's offsets, which have 64 bits.
MOST_OFFSET = 2**63 - 1
#: Far more than anybody has.
MOST_WORKERS, MOST_PARTITIONS, MOST_RECORDS, MOST_RATE, MOST_BYTES = 100_000, 1_000_000, 10**15, 10**9, 10**9


@dataclass(frozen=True, slots=True)
class Bounds:
    """Both ends are allowed. `why` they are not wider."""

    least: float
    most: float
    why: str = ""

    def complaint(self, value: float) -> str | None:
        """What is wrong with a value, in words that follow it; None: nothing."""
        if self.least <= value <= self.most:  # which no nan is
            return None
        return f"must be from {self.least} to {self.most}" + (f"; {self.why}" if self.why else "")


#: Times that are waited for, and those that may be 0: at once, or never.
WAITED, MAYBE_NONE = Bounds(MOMENT, WEEK), Bounds(0, WEEK)

#: Of `run`, by the names that `Config` has for them.
OF_RUN: Mapping[str, Bounds] = {
    "workers": Bounds(0, MOST_WORKERS),
    "lease_ttl": Bounds(2, 60, "etcd grants no lease shorter than 2 s"),
    "commit_interval": Bounds(0, 60, "0 commits after every record"),
    "handler_timeout": Bounds(0, WEEK, "0: never"),
    "read_timeout": Bounds(0, WEEK, "0: never"),
    "graceful_timeout": MAYBE_NONE,
    "rebalance_delay": MAYBE_NONE,
    "connect_timeout": WAITED,
    "max_retries": Bounds(0, 1_000_000),
    "max_deaths": Bounds(1, 1_000_000),
    "max_worker_memory": Bounds(0, MOST_BYTES, "it is in MB, and 0 is no limit"),
    "max_records": Bounds(0, MOST_RECORDS, "0: no limit"),
}
