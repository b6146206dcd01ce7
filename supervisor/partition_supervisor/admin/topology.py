"""Which host has which partitions: the picture of a group, seen from its hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from partition_supervisor.admin.group_view import GroupView, PartitionState
from partition_workers.model import JSON, Partition

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class HostPartitions:
    """`is_running`: false for a host that is named in locks and has no document any more."""

    host: str
    is_running: bool
    draining: bool
    owns: tuple[Partition, ...]
    stands_by: tuple[Partition, ...]

    def as_json(self) -> JSON:
        return {
            "host": self.host,
            "running": self.is_running,
            "draining": self.draining,
            "owns": [str(each) for each in self.owns],
            "stands_by": [str(each) for each in self.stands_by],
        }


@dataclass(frozen=True, slots=True)
class Topology:
    """`unowned` and `parked`: nobody has them."""

    unowned: tuple[Partition, ...]
    parked: tuple[Partition, ...]
    hosts: tuple[HostPartitions, ...]

    @classmethod
    def of(cls, view: GroupView) -> Topology:
        owns: dict[str, list[Partition]] = defaultdict(list)
        stands_by: dict[str, list[Partition]] = defaultdict(list)
        for each in view.partitions:
            if each.owner is not None:
                owns[each.owner.host].append(each.partition)
            for host in sorted({standby.host for standby in each.standbys}):
                stands_by[host].append(each.partition)
        running = {each.host: each for each in view.hosts}
        hosts = tuple(
            HostPartitions(
                host, host in running, host in running and running[host].draining,
                tuple(owns[host]), tuple(stands_by[host]),
            )
            for host in sorted({*running, *owns, *stands_by})
        )  # fmt: skip
        return cls(_in(view, PartitionState.UNOWNED), _in(view, PartitionState.PARKED), hosts)

    @property
    def is_empty(self) -> bool:
        return not (self.unowned or self.parked or self.hosts)

    def as_json(self) -> dict[str, JSON]:
        return {
            "schema_version": SCHEMA_VERSION,
            "unowned": [str(each) for each in self.unowned],
            "parked": [str(each) for each in self.parked],
            "hosts": [each.as_json() for each in self.hosts],
        }

    def rows(self) -> Iterator[tuple[str, str, Partition]]:
        """Host, role and partition; those that nobody has come first, without a host."""
        for role, partitions in (("unowned", self.unowned), ("parked", self.parked)):
            for each in partitions:
                yield "", role, each
        for host in self.hosts:
            for role, partitions in (("owner", host.owns), ("standby", host.stands_by)):
                for each in partitions:
                    yield host.host, role, each


def _in(view: GroupView, state: PartitionState) -> tuple[Partition, ...]:
    return tuple(each.partition for each in view.partitions if each.state is state)


def in_short(partitions: Iterable[Partition]) -> str:
    """`events[0-3,7] orders[2]`: hundreds of them fit a line."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for each in sorted(partitions):
        numbers[each.topic].append(each.number)
    return " ".join(f"{topic}[{','.join(_runs(found))}]" for topic, found in numbers.items())


def _runs(numbers: list[int]) -> Iterator[str]:
    first = last = numbers[0]
    for number in [*numbers[1:], None]:
        if number == last + 1:
            last = number
            continue
        yield str(first) if first == last else f"{first}-{last}"
        if number is not None:
            first = last = number
