"""What many more partitions and hosts would cost, computed from measured slopes: arithmetic, no measurement.

Costs grow with partitions and with hosts, each on its own: the slope over partitions is taken at one number of hosts,
the slope over hosts at one number of partitions. Whoever is nearest to its limit breaks first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import linear_regression

Size = tuple[int, int]
"""Partitions and hosts."""


@dataclass(frozen=True, slots=True)
class Plane:
    """value = base + per_partition * partitions + per_host * hosts"""

    base: float
    per_partition: float
    per_host: float

    def at(self, partitions: float, hosts: float) -> float:
        return max(0.0, self.base + self.per_partition * partitions + self.per_host * hosts)


def plane(measured: Mapping[Size, float], partitions: int, hosts: int) -> Plane:
    """Through values of which one row has that number of `hosts`, the other that number of `partitions`.

    Raises ValueError when a row has fewer than two values.
    """
    row = sorted((p, value) for (p, h), value in measured.items() if h == hosts)
    column = sorted((h, value) for (p, h), value in measured.items() if p == partitions)
    if len(row) < 2 or len(column) < 2:
        raise ValueError(f"too few sizes for slopes: {sorted(measured)}")
    over_partitions = linear_regression(*zip(*row, strict=True))
    over_hosts = linear_regression(*zip(*column, strict=True))
    base = over_partitions.intercept - over_hosts.slope * hosts
    return Plane(base, over_partitions.slope, over_hosts.slope)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the arithmetic begins with. Percent are of one core."""

    workers_cpu: Plane
    """% of all owners and standbys, idle."""
    supervisors_cpu: Plane
    """% of all supervisors and fork servers, idle."""
    memory: Plane
    """MiB of everything on all hosts."""
    etcd_requests: Plane
    """1/s, idle."""
    etcd_cpu: Plane
    """% of all members, idle."""
    listing_bytes: float
    """Of one reading of all locks and standbys, for a partition."""
    picture_ms: float
    """A supervisor's loop for taking such a reading in, for a partition."""
    plan_ms: float
    """plan() at the size that is asked for."""
    commits: float
    """1/s that this etcd took."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one host, and of etcd."""

    cores: int
    memory_mib: float
    network_mib: float
    """MiB/s that one member of etcd can send."""


@dataclass(frozen=True, slots=True)
class Cost:
    what: str
    value: float
    unit: str
    limit: float

    @property
    def share(self) -> float:
        return self.value / self.limit


#: Seconds between two readings of a supervisor (half a TTL of 5 s).
READ_EVERY = 2.5
#: Commits a second of a partition that always has records.
COMMITS_EACH = 10.0


def extrapolate(measured: Measured, partitions: int, hosts: int, limits: Limits) -> list[Cost]:
    """The nearest to its limit first."""
    core = 100.0
    size = partitions, hosts
    busy_ms = measured.picture_ms * partitions + measured.plan_ms
    reading = measured.listing_bytes * partitions / 2**20
    idle_cpu = (measured.workers_cpu.at(*size) + measured.supervisors_cpu.at(*size)) / hosts
    costs = [
        Cost("a host: memory", measured.memory.at(*size) / hosts, "MiB", limits.memory_mib),
        Cost("a host: idle cpu", idle_cpu, "% of a core", limits.cores * core),
        Cost("a supervisor's loop: reading and planning", busy_ms / READ_EVERY / 10, "% of its time", core),
        Cost("etcd: idle cpu of all members", measured.etcd_cpu.at(*size), "% of a core", limits.cores * core),
        Cost("etcd: bytes read by all supervisors", reading * hosts / READ_EVERY, "MiB/s", limits.network_mib),
        Cost("etcd: commits, every partition busy", partitions * COMMITS_EACH, "1/s", measured.commits),
    ]
    return sorted(costs, key=lambda cost: -cost.share)
