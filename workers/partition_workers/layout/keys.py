"""Every etcd key, spelled here and nowhere else.

Keys are grouped by kind, not by partition, so that one read or one watch sees all locks without the traffic of
commits. The layout is public: people read it with `etcdctl get --prefix`, and may rely on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from partition_workers.errors import Misconfigured
from partition_workers.model import Partition, Token

#: As `_path` writes it, and in the range that Kafka has.
_NUMBER = re.compile("[0-9]{5}|[1-9][0-9]{5,8}", re.ASCII)


#: What Kafka allows for topics.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)


def is_name(text: str) -> bool:
    """Whether hosts, groups and topics may be called so: it stands in keys, in lines of logs and in shells."""
    return _NAME.fullmatch(text) is not None and text not in (".", "..")


def check_name(option: str, name: str) -> None:
    """Raises Misconfigured, naming the option, when nothing may be called so."""
    if not is_name(name):
        raise Misconfigured(
            f"{option} {name!r}: cannot be a name. It has 1 to 249 letters, digits, dots, hyphens and underscores, as"
            " Kafka's topics do"
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one group. `root` has no slash at its end, e.g. `/partition-supervisor/my-group`."""

    root: str

    @classmethod
    def of(cls, prefix: str, group: str) -> Keys:
        """`prefix` as given by --etcd-prefix, `group` by --group. Raises Misconfigured for what is no name."""
        check_name("--group", group)
        for part in prefix.strip("/").split("/"):
            check_name("--etcd-prefix", part)
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

    def prepared(self, partition: Partition) -> str:
        return f"{self.root}/prepared/{_path(partition)}"

    @property
    def outputs_group(self) -> str:
        """The Kafka group whose offsets are moved by transactions with outputs. No --group is called so, for its name
        has a slash; and no two groups of ours have the same."""
        return self.root.removeprefix("/")

    def transactional_id(self, partition: Partition) -> str:
        """Of the producer for a partition's outputs. No other partition has it: names have no slashes."""
        return f"{self.outputs_group}/{_path(partition)}"

    def changes(self, partition: Partition) -> str:
        """The prefix of what is changed in the state beside its own keys, oldest first: see `change_log.py`."""
        return f"{self.root}/changes/{_path(partition)}/"

    def change(self, partition: Partition, number: int) -> str:
        return f"{self.changes(partition)}{number:020d}"

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
        """The partition that a lock, offset, standby, parked or history key speaks of.

        Raises ValueError for a key that we would not spell so.
        """
        kind, _, rest = key.removeprefix(f"{self.root}/").partition("/")
        parts = rest.split("/")
        if kind == "control":
            parts = parts[1:]
        if len(parts) < 2 or not is_name(parts[0]) or not _NUMBER.fullmatch(parts[1]):
            raise ValueError("it names no partition: ours go on with topic/number, of five digits")
        return Partition(parts[0], int(parts[1]))


def _path(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number:05d}"
