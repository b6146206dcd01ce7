"""Every etcd key, spelled here and nowhere else.

Keys are grouped by kind, not by partition, so that one read or one watch sees all locks without the traffic of
commits. The layout is public: people read it with `etcdctl get --prefix`, and may rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from partition_workers.model import Partition, Token


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one group. `root` has no slash at its end, e.g. `/partition-supervisor/my-group`."""

    root: str

    @classmethod
    def of(cls, prefix: str, group: str) -> Keys:
        """`prefix` as given by --etcd-prefix, `group` by --group."""
        return cls(f"/{prefix.strip('/')}/{group}")

    def topic(self, name: str) -> str:
        return f"{self.root}/topics/{name}"

    def lock(self, partition: Partition) -> str:
        return f"{self.locks}{_path(partition)}"

    def offset(self, partition: Partition) -> str:
        return f"{self.root}/offsets/{_path(partition)}"

    def state(self, partition: Partition) -> str:
        """The prefix of all state keys of a partition."""
        return f"{self.root}/state/{_path(partition)}/"

    def size(self, partition: Partition) -> str:
        return f"{self.sizes}{_path(partition)}"

    @property
    def sizes(self) -> str:
        return f"{self.root}/sizes/"

    def attempt(self, partition: Partition) -> str:
        return f"{self.root}/attempts/{_path(partition)}"

    def standby(self, partition: Partition, worker: str) -> str:
        return f"{self.standbys}{_path(partition)}/{worker}"

    def history(self, partition: Partition, token: Token) -> str:
        return f"{self.histories(partition)}{token:020d}"

    def histories(self, partition: Partition) -> str:
        """The prefix of a partition's history records, oldest first."""
        return f"{self.every_history}{_path(partition)}/"

    @property
    def every_history(self) -> str:
        return f"{self.root}/history/"

    def host(self, host: str) -> str:
        return f"{self.hosts}{host}"

    def parked(self, partition: Partition) -> str:
        return f"{self.parked_ones}{_path(partition)}"

    @property
    def locks(self) -> str:
        return f"{self.root}/locks/"

    @property
    def offsets(self) -> str:
        return f"{self.root}/offsets/"

    @property
    def standbys(self) -> str:
        return f"{self.root}/standbys/"

    @property
    def hosts(self) -> str:
        return f"{self.root}/hosts/"

    @property
    def parked_ones(self) -> str:
        return f"{self.control}parked/"

    @property
    def moves(self) -> str:
        return f"{self.control}moves/"

    def move(self, partition: Partition) -> str:
        return f"{self.moves}{_path(partition)}"

    @property
    def drains(self) -> str:
        return f"{self.control}drains/"

    def drain(self, host: str) -> str:
        return f"{self.drains}{host}"

    @property
    def control(self) -> str:
        return f"{self.root}/control/"

    def partition_of(self, key: str) -> Partition:
        """The partition that a lock, offset, standby or parked key speaks of."""
        kind, _, rest = key.removeprefix(f"{self.root}/").partition("/")
        parts = rest.split("/")
        if kind == "control":
            parts = parts[1:]
        return Partition(parts[0], int(parts[1]))


def _path(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number:05d}"
