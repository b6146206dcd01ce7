"""Clusters of ours to break and to move, watched by the same probe as the rivals."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_workers.layout.documents import Lock
from partition_workers.model import Partition
from tests.benchmarks import handling
from tests.benchmarks.feeding import Feeding
from tests.benchmarks.groups import PARTITIONS
from tests.benchmarks.probe import Note, Probe

HANDLER = f"{Path(handling.__file__)}:handle"


class Ours:
    """A cluster over a topic of its own, which must exist.

    `copies`: how many workers there shall be for each partition, over all hosts.
    """

    def __init__(
        self,
        name: str,
        bootstrap_servers: str,
        etcd_endpoints: str,
        feeding: Feeding,
        topic: str,
        hosts: tuple[str, ...] = ("a", "b"),
        copies: int = 2,
        options: Sequence[str] = ("--rebalance-delay", "3600"),
        handler: str = HANDLER,
        module: str = Host.module,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.topic, self.copies = name, topic, copies
        self.probe = Probe()
        self._feeding = feeding
        self.cluster = DemoCluster(
            bootstrap_servers, etcd_endpoints, topic, PARTITIONS, hosts,
            options=("--workers", str(PARTITIONS * copies // len(hosts)), *options),
            handler=handler, environment={**self.probe.environment, **(environment or {})},
        )  # fmt: skip
        self.judge = self.cluster.judge
        try:
            for host in self.cluster.hosts.values():
                host.module = module
                host.start()
        except BaseException:
            self.close()
            raise

    def feed(self, rate: float) -> None:
        self._feeding.feed(self.topic, PARTITIONS, rate)

    def rest(self) -> list[int]:
        """No more records for now. How many there were in all."""
        return self._feeding.stop(self.topic)

    def wait_until_complete(self, deadline: float = 40.0) -> None:
        """Until every partition has an owner and all its standbys."""

        def complete() -> bool:
            standbys = self.judge.standbys()
            owned = len(self.judge.owners()) == PARTITIONS
            return owned and all(count >= self.copies - 1 for count in standbys.values())

        wait_for(f"{self.name}: every partition has an owner and {self.copies - 1} standbys", complete, deadline)

    def wait_until_read(self) -> None:
        """Until a record of every partition was handled from now on."""
        since = time.monotonic_ns()

        def read(notes: list[Note]) -> bool:
            return len({each.partition for each in notes if each.handled > since}) == PARTITIONS

        self.probe.wait_for(f"{self.name}: every partition is read", read, 30.0)

    def owners(self) -> dict[int, tuple[Lock, int]]:
        """The lock and the token of each partition. Asked for one after the other, as a commit before this can be:
        nothing moves here."""
        locks, tokens = self.judge.owners(), self.judge.tokens()
        return {partition.number: (locks[partition], tokens[partition]) for partition in locks}

    def partition(self, number: int) -> Partition:
        return self.judge.partitions[number]

    def phases(self, number: int, token: int, fault_at: float) -> dict[str, float | int | str]:
        """Milliseconds from the fault (time.time()) to what the new owner wrote into its history."""
        gap = self.judge.gap(self.partition(number), token, fault_at)
        return {name: round(value, 1) for name, value in gap.phases.items()} if gap else {}

    def facts(self, produced: list[int]) -> dict[str, float | int | str]:
        """Of the whole run: what handlers saw, and what the states say, which have each record once."""
        wait_for(
            f"{self.name}: everything that was produced is committed", lambda: self.judge.caught_up(produced), 30.0
        )
        self.probe.look()
        accounts = self.probe.accounts
        states = [self.judge.state(partition) for partition in self.judge.partitions]
        return {
            "lost in all": sum(accounts[number].lost(count) for number, count in enumerate(produced)),
            "doubled in all": sum(accounts[number].doubled for number in range(PARTITIONS)),
            "lost in state": sum(
                state.get("lost", 0) + max(0, count - state.get("next", 0))
                for state, count in zip(states, produced, strict=True)
            ),
            "doubled in state": sum(state.get("doubled", 0) for state in states),
        }

    def close(self) -> None:
        try:
            self._feeding.forget(self.topic)
        finally:
            self.cluster.close()
            self.probe.close()

    def __enter__(self) -> Ours:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fresh_topic(bootstrap_servers: str) -> str:
    """Of two partitions, with nothing in it."""
    topic = f"bench-{secrets.token_hex(4)}"
    create_topic(bootstrap_servers, topic, PARTITIONS)
    return topic
