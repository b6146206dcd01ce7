"""What is done to a group that produces; `outputs.py` judges it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.services import Services
from partition_workers.layout.documents import now
from partition_workers.model import Partition
from tests.commands import cli
from tests.faults.brokers import Brokers

#: Between cut and apply, in this order.
STEPS = ["before prepare", "prepared", "begun", "produced", "offsets sent", "committed"]
#: Where every output is sent ahead of its step.
AHEAD = ["sent ahead", "prepared", "produced", "offsets sent", "committed"]
#: Of whoever takes over; under load an owner applies a step with the next prepare, but the first by itself.
TAKEOVER = ["before confirm", "confirmed", "before initialise", "initialised", "before apply"]


@dataclass(frozen=True, slots=True)
class Stopped:
    """A worker that was stopped where a test wanted it."""

    pid: int
    partition: Partition
    token: int
    host: Host


@dataclass
class Scene:
    """A group under load, and what can be done to it."""

    cluster: DemoCluster
    services: Services
    brokers: Brokers | None
    places: Path
    begun: str = field(default_factory=now)
    reset: set[int] = field(default_factory=set)
    """Partitions whose records were handled from the first on once more."""

    def stop_at(self, place: str, kill_an_owner: bool = False) -> Stopped:
        """Have whoever comes there next stopped. `kill_an_owner`: or nobody would come there."""
        (self.places / place).write_text("SIGSTOP")
        if kill_an_owner:
            os.kill(next(iter(self.cluster.judge.owners().values())).pid, signal.SIGKILL)
        pid = self._who_comes_to(place)
        wait_for(f"{pid} stands still", lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 10.0)
        partition = self.owned_by(pid)
        owners, tokens = self.cluster.judge.owners_and_tokens()
        return Stopped(pid, partition, tokens[partition], self.cluster.hosts[owners[partition].host])

    def hang_at(self, place: str) -> int:
        """Have the thread that calls Kafka stay there, of whoever comes there next. Its pid."""
        (self.places / place).write_text("hang")
        return self._who_comes_to(place)

    def _who_comes_to(self, place: str) -> int:
        wait_for(f"somebody comes there: {place}", lambda: bool(list(self.places.glob(f"{place}.*"))), 60.0)
        (taken,) = self.places.glob(f"{place}.*")
        taken.unlink()
        return int(taken.suffix.removeprefix("."))

    def owned_by(self, pid: int) -> Partition:
        (partition,) = (each for each, lock in self.cluster.judge.owners().items() if lock.pid == pid)
        return partition

    def await_successor(self, stopped: Stopped) -> None:
        """Until another has the partition and has committed more than there was."""
        judge, before = self.cluster.judge, self.cluster.judge.offset(stopped.partition).offset

        def goes_on() -> bool:
            got_on = judge.offset(stopped.partition).offset > before
            return judge.tokens().get(stopped.partition, 0) > stopped.token and got_on

        wait_for(f"{stopped.partition} has another owner that commits", goes_on, 60.0)

    def continue_host(self, stopped: Stopped) -> None:
        """The worker has a second for its worst, before its supervisor is there."""
        os.kill(stopped.pid, signal.SIGCONT)
        time.sleep(1.0)
        stopped.host.signal_all(signal.SIGCONT)
        self.complete()

    def complete(self) -> None:
        self.cluster.wait_until_complete(60.0)

    def without_what_was_reset(self, number: int, numbers: list[int]) -> list[int]:
        """What came before its records were handled again must have been in order, and from the first on."""
        if number not in self.reset:
            return numbers
        again = [index for index, (before, after) in enumerate(pairwise(numbers), 1) if after < before]
        is_whole = len(again) == 1 and numbers[: again[0]] == list(range(again[0]))
        return numbers[again[0] :] if is_whole else numbers

    def kept(self, number: int) -> dict[str, int]:
        """What the state has for each key."""
        state = self.cluster.judge.state(self.cluster.judge.partitions[number])
        return {key: value for key, value in state.items() if key.startswith("key-")}


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    do: Callable[[Scene], str]
    """Says what it has done, in a few words."""
    partitions: int = 2
    hosts: tuple[str, ...] = ("a", "b")
    rate: float = 200.0
    handler: str = "forward"
    options: tuple[str, ...] = ("--rebalance-delay", "3600")
    brokers: int = 1
    ahead: bool = False
    """Whether all outputs are sent before their step is prepared, and not only many."""


def _freeze(place: str, kill_an_owner: bool) -> Callable[[Scene], str]:
    """A whole host stands still, one of its owners at that place; another takes over; then it goes on."""

    def do(scene: Scene) -> str:
        scene.complete()
        stopped = scene.stop_at(place, kill_an_owner)
        stopped.host.signal_all(signal.SIGSTOP)
        scene.await_successor(stopped)
        scene.continue_host(stopped)
        return "host stopped there, another took over, host continued"

    return do


def _hang(place: str) -> Callable[[Scene], str]:
    """A call to Kafka that does not come back: its client is left behind, and the same owner goes on."""

    def do(scene: Scene) -> str:
        scene.complete()
        judge, pid, begun = scene.cluster.judge, scene.hang_at(place), time.monotonic()
        partition = scene.owned_by(pid)
        before = judge.offset(partition).offset
        wait_for(f"{partition} goes on", lambda: judge.offset(partition).offset > before + 500, 60.0)
        seconds = time.monotonic() - begun
        if judge.owners()[partition].pid != pid:
            raise RuntimeError(f"{partition} has another owner")
        return f"the thread that calls Kafka stays there; its owner went on {seconds:.0f} s later"

    return do


def _two_zombies(scene: Scene) -> str:
    """Both wake up at once, beside a third that is the owner."""
    for place in ("offsets sent", "produced", "prepared"):
        scene.complete()
        zombies = []
        for _ in range(2):
            zombies.append(scene.stop_at(place))
            zombies[-1].host.signal_all(signal.SIGSTOP)
        scene.await_successor(zombies[-1])
        for each in zombies:
            os.kill(each.pid, signal.SIGCONT)
        time.sleep(1.0)
        for each in zombies:
            each.host.signal_all(signal.SIGCONT)
    scene.complete()
    return "two owners stopped, one after the other, at offsets sent, produced, prepared; a third took over"


def _restart_broker(scene: Scene) -> str:
    for _ in range(3):
        scene.complete()
        scene.services.restart("kafka")
        time.sleep(3.0)
    return "killed and started again, three times"


def _restart_broker_at(place: str) -> Callable[[Scene], str]:
    """It is another broker by the time the owner goes on."""

    def do(scene: Scene) -> str:
        scene.complete()
        stopped = scene.stop_at(place)
        stopped.host.signal_all(signal.SIGSTOP)  # or its supervisor would end it meanwhile
        scene.services.restart("kafka")
        scene.continue_host(stopped)
        return "killed and started again, while an owner and its host stood there"

    return do


def _roll_brokers(scene: Scene) -> str:
    assert scene.brokers is not None
    for _ in range(2):
        for number in range(len(scene.brokers.addresses)):
            scene.brokers.restart(number)
            time.sleep(5.0)  # until it is in sync again
    return "each of three killed and started again, twice; the coordinators moved with them"


def _without_quorum(seconds: float, place: str = "prepared") -> Callable[[Scene], str]:
    def do(scene: Scene) -> str:
        scene.complete()
        stopped = scene.stop_at(place)
        members = [scene.services.processes[name] for name in ("etcd-2", "etcd-3")]
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        os.kill(stopped.pid, signal.SIGCONT)  # Kafka commits, and nobody takes down that it has
        time.sleep(seconds)
        for pid in members:
            os.kill(pid, signal.SIGCONT)
        time.sleep(5.0)
        scene.complete()
        when = "after a prepare" if place == "prepared" else f"after outputs were {place}"
        return f"two of three members stopped for {seconds:g} s, {when}"

    return do


def _move(scene: Scene) -> str:
    orders = Orders(RetryingStore(scene.cluster.store, 10.0, "the services of this fault"), scene.cluster.keys)
    half = len(scene.cluster.judge.partitions) // 2

    def await_share(count: int) -> None:
        def has_it() -> bool:
            time.sleep(0.5)  # whoever asks etcd more often delays those who have to
            return sum(lock.host == "b" for lock in scene.cluster.judge.owners().values()) == count

        wait_for(f"b owns {count}", has_it, 60.0)

    for _ in range(9):
        await_share(half)
        orders.drain("b")
        await_share(0)
        orders.undrain("b")
    moved = sum(
        each.cause == "handed-over" and each.since > scene.begun
        for partition in scene.cluster.judge.partitions
        for each in scene.cluster.judge.history(partition)
    )
    return f"{moved} partitions handed over, a host drained and back nine times"


def _raise(scene: Scene) -> str:
    for _ in range(5):
        scene.complete()
        time.sleep(1.0)
        os.kill(next(iter(scene.cluster.judge.owners().values())).pid, signal.SIGKILL)
    scene.complete()
    return "every twentieth record, and five owners killed beside"


def _reset(place: str) -> Callable[[Scene], str]:
    """With a step that is prepared; at `committed` Kafka has it as well."""

    def do(scene: Scene) -> str:
        scene.complete()
        stopped = scene.stop_at(place)
        for host in scene.cluster.hosts.values():
            host.kill()
        wait_for("nobody owns anything", lambda: not scene.cluster.judge.owners(), 30.0)
        done = cli(
            "offsets", "reset", str(stopped.partition), "--to-earliest", "--drop-state", "--execute",
            "--group", scene.cluster.group, "-b", scene.services.bootstrap_servers,
            "--etcd-endpoints", scene.services.etcd_endpoints,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        scene.reset.add(stopped.partition.number)
        for host in scene.cluster.hosts.values():
            host.start()
        scene.complete()
        return "hosts killed, offset set to the first record, state dropped; what came before it is whole"

    return do


FAULTS = (
    *(Fault(f"stop, {place}", _freeze(place, kill_an_owner=False)) for place in STEPS),
    *(Fault(f"stop, {place}", _freeze(place, kill_an_owner=True)) for place in TAKEOVER),
    *(Fault(f"hang, {place}", _hang(place)) for place in ("produced", "offsets sent")),
    Fault("zombies", _two_zombies, partitions=1, hosts=("a", "b", "c")),
    Fault("broker", _restart_broker),
    *(Fault(f"broker, {place}", _restart_broker_at(place)) for place in ("begun", "offsets sent")),
    Fault("etcd, short", _without_quorum(2.0)),
    Fault("etcd, long", _without_quorum(12.0)),
    Fault("moves", _move, partitions=12, rate=100.0, options=("--rebalance-delay", "0.5")),
    Fault("raise", _raise, handler="raise_after_producing"),
    *(Fault(f"reset, {place}", _reset(place)) for place in ("prepared", "committed")),
    Fault("rolling", _roll_brokers, brokers=3),
    *(Fault(f"ahead, stop, {place}", _freeze(place, kill_an_owner=False), ahead=True) for place in AHEAD),
    Fault("ahead, zombies", _two_zombies, partitions=1, hosts=("a", "b", "c"), ahead=True),
    Fault("ahead, broker", _restart_broker_at("sent ahead"), ahead=True),
    Fault("ahead, etcd, long", _without_quorum(12.0, "sent ahead"), ahead=True),
    Fault("ahead, etcd, longer than a transaction", _without_quorum(75.0, "sent ahead"), ahead=True),
    Fault("ahead, raise", _raise, handler="raise_after_producing", ahead=True),
    Fault("ahead, reset", _reset("sent ahead"), ahead=True),
    Fault("ahead, moves", _move, partitions=12, rate=100.0, options=("--rebalance-delay", "0.5"), ahead=True),
)
