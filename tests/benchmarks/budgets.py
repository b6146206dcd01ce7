"""What was promised in figures, and whether it was kept: each budget computed from the trials, none left out.

A budget whose trials are missing is "not measured", which is no better than missed. Rivals are compared by their
median of the same run, and of neither side fewer trials than FEWEST are believed.

What depends on how fast the machine is counts in writes: as a multiple of the median of a write to the three members
of etcd, measured in the same run. Milliseconds do not carry from one machine to the next; that multiple was the same
on two of which one was half as fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.benchmarks.etcd_load import WRITE, WRITES
from tests.benchmarks.frameworks import PACKAGES
from tests.benchmarks.trials import Trial, median, quantile

#: Trials of each side that a ratio needs.
FEWEST = 5


@dataclass(frozen=True, slots=True)
class Series:
    """The trials of one system in one metric of one benchmark."""

    benchmark: str
    system: str
    metric: str

    def values(self, trials: Iterable[Trial]) -> list[float]:
        return [t.value for t in trials if Series(t.benchmark, t.system, t.metric) == self]

    def __str__(self) -> str:
        return f"{self.metric} of {self.system!r} ({self.benchmark})"


class Verdict(Enum):
    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"
    TOO_FEW = "too few trials"


@dataclass(frozen=True, slots=True)
class Outcome:
    budget: Budget
    value: float
    own: float
    """That of ours before it was divided by anything."""
    writes: float
    """The same as a multiple of a write, if writes were measured beside it; else nan."""
    count: int
    """Trials of ours."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Budget:
    what: str
    goal: str
    limit: float
    unit: str
    """"ms", "%", "writes", or empty for a ratio."""
    ours: Series
    share: float = 0.5
    """Which quantile of ours counts: 0.5 is the median, 1 the largest."""
    rival: Series | None = None
    """Whose median ours is divided by."""
    at_least: bool = False
    """Whether more is better."""
    headline: str = ""
    """In words, for those that say whether all this is worth having."""

    @property
    def how(self) -> str:
        """What is computed."""
        name = {0.5: "median", 1.0: "largest"}.get(self.share, f"p{self.share * 100:g}")
        return f"{name} of {self.ours}" + (f", divided by the median of {self.rival}" if self.rival else "")

    def measure(self, trials: Sequence[Trial]) -> Outcome:
        """With the verdict."""
        values = self.ours.values(trials)
        own = median(values) if self.share == 0.5 else quantile(values, self.share)
        writes = _quotient(own, _writes_in(self.ours.benchmark).values(trials))
        theirs = self.rival.values(trials) if self.rival else []
        value = _quotient(own, theirs) if self.rival else own
        counts = [len(values), *([len(theirs)] if self.rival else [])]
        return Outcome(self, value, own, writes, len(values), self._verdict(value, min(counts)))

    def _verdict(self, value: float, count: int) -> Verdict:
        if math.isnan(value):
            return Verdict.NOT_MEASURED
        if self.rival is not None and count < FEWEST:
            return Verdict.TOO_FEW
        met = value >= self.limit if self.at_least else value <= self.limit
        return Verdict.MET if met else Verdict.MISSED


def judge(trials: Iterable[Trial]) -> list[Outcome]:
    """Every budget, in the order of the design."""
    kept = list(trials)
    return [budget.measure(kept) for budget in BUDGETS]


def _quotient(value: float, others: Sequence[float]) -> float:
    middle = median(others)
    return value / middle if middle else math.nan


def _writes_in(benchmark: str) -> Series:
    return Series(benchmark, WRITES, WRITE)


def _in_writes(what: str, limit: float, ours: Series, share: float = 0.5) -> Budget:
    return Budget(what, f"<= {limit:g} writes", limit, "writes", ours, share, rival=_writes_in(ours.benchmark))


_KILLED = Series("failover", "ours, 3 etcd members, standby on another host", "gap")
_KILLED_MEMBER = Series("failover", "group, classic range, 6 s", "gap")
_SUPERVISOR_KILLED = Series("losses", "ours, supervisor killed", "gap")
_HOST_KILLED = Series("losses", "ours, host killed", "gap")
_MACHINE_LOST = Series("losses", "ours, machine lost", "gap")
_MOVED = Series("moves", "ours", "gap, moved")
_MOVED_BY_GROUP = Series("moves", "group, cooperative-sticky", "gap, moved")
_STAYED = Series("moves", "ours", "gap, stayed")
_UNDISTURBED = Series("moves", "ours, nothing moves", "gap, stayed")
_RECORDS = Series("throughput", "ours, per record", "records/s")
_BARE_RECORDS = Series("throughput", "bare loop, per record", "records/s")
_BATCHES = Series("throughput", "ours, by batch", "records/s")
_BARE_BATCHES = Series("throughput", "bare loop, by batch", "records/s")
_WORKERS = Series("throughput", "ours, 2 workers", "records/s")
_MEMBERS = Series("throughput", "group, 2 members", "records/s")
_READY_AGAIN = Series("processes", "ours, replacement", "ready")
_MEMORY = Series("processes", "ours, idle worker", "uss")
_MEMORY_OF_SPAWN = Series("processes", "spawn", "uss")
_TRANSACTIONS = Series("commits", "ours", "transactions per record")
_IDLE = Series("processes", "ours, 64 standbys", "idle cpu")
_PLAN = Series("growth", "ours, 1,000 partitions, 10 hosts", "plan()")
_LARGE = "ours, 1,000 partitions, 10 hosts"
_ROUND_AT_START = Series("loop", _LARGE, "round, all start")
_ROUND_AT_DEATH = Series("loop", _LARGE, "round, a host dies")
_WAIT_AT_START = Series("loop", _LARGE, "longest wait, all start")
_WAIT_AT_DEATH = Series("loop", _LARGE, "longest wait, a host dies")
_THOUSAND = Series("keyed", "ours, per record", "records/s, 1,000 keys")
_BARE_THOUSAND = Series("keyed", "bare loop, per record", "records/s, 1,000 keys")
_MANY = Series("keyed", "ours, per record", "records/s, 100,000 keys")
_FRAMEWORK = PACKAGES["quixstreams"].replace("==", " ")
_FRAMEWORK_THOUSAND = Series("keyed", _FRAMEWORK, "records/s, 1,000 keys")
_FRAMEWORK_MANY = Series("keyed", _FRAMEWORK, "records/s, 100,000 keys")
_FORWARDED = Series("outputs", "ours, per record", "records/s")
_FORWARDED_BATCHES = Series("outputs", "ours, by batch", "records/s")
_BY_LOOP = Series("outputs", "transactional loop, per record", "records/s")
_BY_LOOP_BATCHES = Series("outputs", "transactional loop, by batch", "records/s")
_BY_FRAMEWORK = Series("outputs", f"{_FRAMEWORK}, exactly-once", "records/s")
_KILLED_SENDING = Series("outputs", "ours, exactly once", "gap")

BUDGETS = (
    _in_writes("a worker is killed: gap, p50", 10.0, _KILLED),
    _in_writes("a worker is killed: gap, p99", 40.0, _KILLED, share=0.99),
    Budget(
        "a worker is killed: gap beside a consumer group's at its least session, 6 s", "<= 1/200", 1 / 200, "",
        _KILLED, rival=_KILLED_MEMBER, headline="gap after kill -9, beside a consumer group with a session of 6 s",
    ),
    Budget("a supervisor is killed: gap, p99", "<= 250 ms", 250.0, "ms", _SUPERVISOR_KILLED, share=0.99),
    Budget("a whole host is killed: gap, p99", "<= 150 ms", 150.0, "ms", _HOST_KILLED, share=0.99),
    Budget(
        "a machine is lost without a word (TTL 5 s): longest gap", "<= 2 s", 2000.0, "ms", _MACHINE_LOST, share=1.0
    ),
    _in_writes("planned move: gap of the moved partition, p50", 7.0, _MOVED),
    _in_writes("planned move: gap of the moved partition, p99", 25.0, _MOVED, share=0.99),
    Budget(
        "planned move: gap beside a cooperative group's close()", "<= 1/10", 1 / 10, "", _MOVED,
        rival=_MOVED_BY_GROUP,
    ),
    Budget("planned move: other partitions, beside no move at all", "no gap", 1.1, "", _STAYED, rival=_UNDISTURBED),
    Budget(
        "records/s beside an equally tuned bare loop, per record", ">= 0.90", 0.90, "", _RECORDS,
        rival=_BARE_RECORDS, at_least=True,
        headline="records/s, beside an equally tuned bare loop with the same handler",
    ),
    Budget(
        "records/s beside an equally tuned bare loop, by batch", ">= 0.95", 0.95, "", _BATCHES,
        rival=_BARE_BATCHES, at_least=True,
    ),
    Budget(
        "records/s beside a consumer group of as many processes", ">= 0.95", 0.95, "", _WORKERS,
        rival=_MEMBERS, at_least=True,
    ),
    _in_writes("a worker is killed: its replacement is a ready standby, p50", 20.0, _READY_AGAIN),
    Budget(
        "memory of an idle worker (USS), beside spawn", "<= 0.40", 0.40, "", _MEMORY, rival=_MEMORY_OF_SPAWN,
        headline="memory of an idle worker (USS), beside spawn",
    ),
    Budget(
        "counting by key, 1,000 keys: records/s beside a bare loop that forgets", ">= 0.5", 0.5, "", _THOUSAND,
        rival=_BARE_THOUSAND, at_least=True,
    ),
    Budget(
        "counting by key, 1,000 keys: records/s beside quixstreams", ">= 4", 4.0, "", _THOUSAND,
        rival=_FRAMEWORK_THOUSAND, at_least=True,
    ),
    Budget(
        "counting by key, 100,000 keys at random: records/s beside quixstreams", ">= 2", 2.0, "", _MANY,
        rival=_FRAMEWORK_MANY, at_least=True,
    ),
    Budget(
        "topic to topic, exactly once: records/s beside an equally tuned transactional loop, per record", ">= 0.80",
        0.80, "", _FORWARDED, rival=_BY_LOOP, at_least=True,
        headline="records/s from topic to topic, exactly once, beside an equally tuned transactional loop",
    ),
    Budget(
        "topic to topic, exactly once: records/s beside the same loop, by batch", ">= 0.80", 0.80, "",
        _FORWARDED_BATCHES, rival=_BY_LOOP_BATCHES, at_least=True,
    ),
    Budget(
        "topic to topic, exactly once: records/s beside quixstreams", ">= 3", 3.0, "", _FORWARDED,
        rival=_BY_FRAMEWORK, at_least=True,
    ),
    Budget("a worker with outputs is killed: gap, p50", "<= 45 ms", 45.0, "ms", _KILLED_SENDING),
    Budget("a worker with outputs is killed: gap, p99", "<= 150 ms", 150.0, "ms", _KILLED_SENDING, share=0.99),
    Budget("etcd transactions per record at full speed", "<= 1/5,000", 1 / 5000, "", _TRANSACTIONS),
    Budget("64 idle standbys", "<= 5 % of a core", 5.0, "%", _IDLE),
    Budget("where everything should be: 1,000 partitions, 10 hosts", "<= 5 ms", 5.0, "ms", _PLAN),
    Budget("a round of the loop while all of these start", "<= 2 ms", 2.0, "ms", _ROUND_AT_START),
    Budget("a round of the loop while one of the hosts dies", "<= 2 ms", 2.0, "ms", _ROUND_AT_DEATH),
    Budget("an exit or a report waits while all start", "<= 20 ms", 20.0, "ms", _WAIT_AT_START),
    Budget("an exit or a report waits while a host dies", "<= 20 ms", 20.0, "ms", _WAIT_AT_DEATH),
)  # fmt: skip
