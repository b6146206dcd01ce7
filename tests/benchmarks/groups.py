"""Consumer groups on one or more hosts of this machine: how they are started, watched, broken and ended.

Each host is a process group: a parent and its forked members (`members.py`). A group of two partitions gets four
members, because our cluster has as many standbys as owners.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]

from tests.benchmarks.feeding import Feeding
from tests.benchmarks.members import Party
from tests.benchmarks.probe import Probe, owners

PARTITIONS = 2
#: As many idle members as there are busy ones.
MEMBERS = 2 * PARTITIONS

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A way to run a consumer group. `session`: seconds until a silent member is given up."""

    name: str
    session: float
    config: dict[str, Any]
    restart: bool = False
    program: str = "consumer"
    interpreter: str = sys.executable
    of_the_group: dict[str, str] = dataclasses.field(default_factory=dict)
    """What the broker must be told for this group: KIP-848 keeps sessions there."""


_SIX = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
_ONE = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 300}
_COOPERATIVE = {"partition.assignment.strategy": "cooperative-sticky"}
_RANGE = {"partition.assignment.strategy": "range"}
_KIP_848 = {"group.protocol": "consumer"}

RANGE = Kind("group, classic range, 6 s", 6.0, _SIX | _RANGE)
COOPERATIVE = Kind("group, cooperative-sticky, 6 s", 6.0, _SIX | _COOPERATIVE)
KIP_848 = Kind(
    "group, KIP-848, 6 s", 6.0, _KIP_848,
    of_the_group={"consumer.session.timeout.ms": "6000", "consumer.heartbeat.interval.ms": "500"},
)  # fmt: skip
RANGE_1_S = Kind("group, classic range, 1 s (the broker's least lowered)", 1.0, _ONE | _RANGE)
RANGE_DEFAULTS = Kind("group, classic range, defaults (45 s)", 45.0, {})
KIP_848_DEFAULTS = Kind("group, KIP-848, defaults (45 s)", 45.0, _KIP_848)
STATIC = Kind("group, static members, restarted by their parent", 6.0, _SIX | _RANGE, restart=True)


TRANSACTIONAL = Kind("group with transactions, 6 s", 6.0, _SIX | _RANGE, program="transactional")
TRANSACTIONAL_STATIC = dataclasses.replace(
    TRANSACTIONAL, name="group with transactions, static members, restarted by their parent", restart=True
)


def quixstreams(interpreter: Path) -> Kind:
    return Kind("quixstreams, 6 s", 6.0, _SIX, program="quixstreams", interpreter=str(interpreter))


def quixstreams_exactly_once(interpreter: Path) -> Kind:
    """Its transactions are given up after 6 s as well, and not after the 60 of the default."""
    return dataclasses.replace(quixstreams(interpreter), name="quixstreams exactly-once, 6 s")


class MembersHost:
    """The parent and members of one host, in a process group of their own."""

    def __init__(self, party: Party, interpreter: str, log: Path, environment: dict[str, str]) -> None:
        self.members: dict[int, int] = {}
        """The newest pid of each index."""
        self.told = threading.Condition()
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [interpreter, "-m", "tests.benchmarks.members", json.dumps(dataclasses.asdict(party))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, cwd=ROOT,
                env=os.environ | environment,
            )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            index, pid = map(int, line.split())
            with self.told:
                self.members[index] = pid
                self.told.notify_all()

    def start(self, index: int) -> int:
        """One more member, or a new one in the place of one that has ended. Its pid."""
        before = self.members.get(index)
        assert self.process.stdin is not None
        self.process.stdin.write(b"start %d\n" % index)
        self.process.stdin.flush()
        with self.told:
            if not self.told.wait_for(lambda: self.members.get(index) not in (None, before), 10.0):
                raise TimeoutError(f"member {index} was not started within 10 s")
            return self.members[index]

    def signal_all(self, number: signal.Signals) -> None:
        """To the parent and all members, in one step."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        self.signal_all(signal.SIGKILL)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(10.0)


class Group:
    """One consumer group over a topic of its own, which must exist, on `hosts` hosts."""

    def __init__(
        self, kind: Kind, bootstrap_servers: str, feeding: Feeding, topic: str, hosts: int = 1, to: str = ""
    ) -> None:
        """`to`: another topic, to which it sends on what it noted, exactly once."""
        self.kind, self.topic = kind, topic
        self.name = f"bench-{secrets.token_hex(4)}"
        self.probe = Probe()
        self._feeding = feeding
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
        if kind.of_the_group:
            self._configure(kind.of_the_group)
        self.hosts = [
            MembersHost(
                Party(
                    bootstrap_servers, topic, self.name, MEMBERS // hosts, kind.config, kind.restart,
                    static=kind.restart, kind=kind.program, name=f"host{number}-", to=to,
                ),
                kind.interpreter, self.probe.folder / "log", self.probe.environment,
            )
            for number in range(hosts)
        ]  # fmt: skip

    def _configure(self, settings: dict[str, str]) -> None:
        resource = ConfigResource(
            ConfigResource.Type.GROUP, self.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in settings.items()
            ],
        )  # fmt: skip
        for future in self._admin.incremental_alter_configs([resource]).values():
            future.result(10.0)

    def feed(self, rate: float) -> None:
        self._feeding.feed(self.topic, PARTITIONS, rate)

    def rest(self) -> list[int]:
        """No more records for now. How many there were in all."""
        return self._feeding.stop(self.topic)

    def wait_until_complete(self, members: int = MEMBERS, deadline: float = 40.0) -> None:
        """Until so many members are in, the group is quiet and every partition is being read."""
        until = time.monotonic() + deadline
        while (found := self._described()) != ("STABLE", members):
            if time.monotonic() > until:
                log = (self.probe.folder / "log").read_text()[-2000:]
                raise TimeoutError(f"{self.kind.name}: {members} members wanted, but it is {found}\n{log}")
            time.sleep(0.2)  # the coordinator has nothing to wait upon
        since = time.monotonic_ns()
        self.probe.wait_for(
            f"{self.kind.name}: every partition is read",
            lambda notes: len({each.partition for each in notes if each.handled > since}) == PARTITIONS,
            deadline,
        )

    def _described(self) -> tuple[str, int]:
        found = self._admin.describe_consumer_groups([self.name], request_timeout=5.0)[self.name].result()
        return found.state.name, len(found.members)

    def owners(self) -> dict[int, int]:
        """The pid that reads each partition, by what was noted."""
        return owners(self.probe.look())

    def host_of(self, pid: int) -> MembersHost:
        return next(each for each in self.hosts if pid in each.members.values())

    def members(self) -> list[int]:
        """The pids of the newest of each place."""
        return [pid for host in self.hosts for pid in host.members.values()]

    def replace(self, pid: int) -> None:
        """A new member in the place of one that has closed."""
        host = self.host_of(pid)
        host.start(next(index for index, each in host.members.items() if each == pid))

    def add(self) -> None:
        """One more member."""
        self.hosts[0].start(len(self.hosts[0].members))

    def facts(self, produced: list[int]) -> dict[str, float | int | str]:
        """Of the whole life of the group: what was lost and what was handled twice."""
        with contextlib.suppress(TimeoutError):  # what never comes is lost
            self.probe.wait_for("all is handled", lambda _: not self._lost(produced), 10.0)
        doubled = sum(self.probe.accounts[number].doubled for number in range(len(produced)))
        return {"lost in all": self._lost(produced), "doubled in all": doubled}

    def _lost(self, produced: list[int]) -> int:
        return sum(self.probe.accounts[number].lost(count) for number, count in enumerate(produced))

    def close(self) -> None:
        try:
            self._feeding.forget(self.topic)
        finally:
            for host in self.hosts:
                host.end()
            self.probe.close()

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
