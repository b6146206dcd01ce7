"""What a benchmark measures: one trial after the other, each kept.

A benchmark is a module with `measure(bench)`, a generator of trials. It interleaves the systems that it compares,
so that a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured value."""

    benchmark: str
    """The module that measured: failover, losses, moves, throughput, commits, processes, growth, loop, outputs."""
    system: str
    """Who was measured, in words for the table: "ours, 3 etcd members, standby on another host".

    What is ours begins with "ours"; the first such system of a metric is what the others are compared with.
    """
    metric: str
    """What was measured: "gap", "records/s", "uss"."""
    value: float
    unit: str
    """"ms", "s", "1/s", "MiB", "%"."""
    facts: dict[str, float | int | str] = field(default_factory=dict)
    """What belongs to this value: phases of a gap, lost, doubled, replayed, CPU per record."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark is given."""

    bootstrap_servers: str
    etcd_endpoints: str
    """Three members, comma between them."""
    single_etcd_endpoint: str
    """A cluster of one member."""
    quick: bool
    """The run of eleven minutes for everything: fewer trials, shorter, the slow rivals once."""
    seconds: float
    """How long this benchmark may take about. Whoever has reached it starts no further round."""
    only_ours: bool
    """Leave the rivals out: two commits of ours are being compared."""
    say: Callable[[str], None]
    """Progress, a line at a time, on stderr."""


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which this share of them lies; nan without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def median(values: Iterable[float]) -> float:
    ordered = list(values)
    return statistics.median(ordered) if ordered else float("nan")
