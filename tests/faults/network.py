"""A storm of network faults: what comes between three hosts, and between them and Kafka and etcd, at random.

    python -m tests.faults.network --minutes 20

Each fault lasts some seconds. Then the network is whole, and so must every host be within ten seconds. Ends with 1
when a record was lost, doubled or out of order; when a lock was taken from an owner that had renewed its lease; when
a fault moved more than one partition without need; or when a host was not whole in time.
"""

from __future__ import annotations

import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.demo.script import report
from partition_workers.layout.documents import Cause
from partition_workers.layout.documents import Host as HostDocument
from tests.benchmarks.trials import median
from tests.faults.lock_observer import LockObserver, Moved
from tests.packet_network import ETCD, KAFKA, PacketNetwork, Way

HOSTS = ("host-a", "host-b", "host-c")
PARTITIONS, PORT, LEASE_TTL = 6, 7400, 5.0
OPTIONS = ("--read-timeout", "8", "--lease-ttl", f"{LEASE_TTL:g}")
#: Within so many seconds of the network's healing every host must be whole; and after so many the next fault comes.
WHOLE_WITHIN, PATIENCE = 10.0, 60.0
#: Without a move for so long, and balanced, the cluster is at rest.
REST = 5.0
SLOW, CUT = Way(delay=0.2, loss=0.2), Way(loss=1.0)


class Machine(Host):
    """A host in a network namespace of its own."""

    def __init__(self, host: Host, network: PacketNetwork) -> None:
        listen = ("--listen", f"{network.address(host.name)}:{PORT}")
        super().__init__(host._processes, host.name, [*host._arguments, *listen], host._environment)
        self._namespace = network.namespace(host.name)

    def command(self) -> list[str]:
        return ["ip", "netns", "exec", self._namespace, *super().command()]

    def peers(self) -> int:
        """Connections to and from other supervisors."""
        with open(f"/proc/{self.pid}/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        return sum(row[3] == "01" and f"{PORT:04X}" in (row[1][-4:], row[2][-4:]) for row in rows)


@dataclass
class Network:
    """Faults to order. `victim`: the host whose network is bad."""

    packets: PacketNetwork
    victim: str = HOSTS[0]
    _undo: list[Callable[[], None]] = field(default_factory=list)

    def heal(self) -> None:
        self.packets.heal()
        while self._undo:
            self._undo.pop()()

    def peers_of(self, name: str) -> list[str]:
        return [self.packets.address(each) for each in HOSTS if each != name]

    def ways(self, way: Way, places: list[str], there: bool = True, back: bool = True) -> None:
        """Between the victim and these places."""
        me = [self.packets.address(self.victim)]
        if there:
            self.packets.set(me, places, way)
        if back:
            self.packets.set(places, me, way)

    def reject(self, name: str, places: list[str]) -> None:
        self.packets.reject(name, places)
        self._undo.append(lambda: self.packets.accept(name, places))

    def reset_everything(self) -> None:
        """Three times, with a second between them."""
        for _ in range(3):
            for name in HOSTS:
                self.reject(name, [*self.peers_of(name), KAFKA, ETCD])
            time.sleep(0.3)
            self.heal()
            self.packets.forwarders.reset()
            time.sleep(1.0)

    def slow_for_all(self, places: list[str]) -> None:
        everybody = [self.packets.address(each) for each in HOSTS]
        self.packets.set(everybody, places, SLOW)
        self.packets.set(places, everybody, SLOW)


Fault = Callable[[Network], None]

KINDS: dict[str, Fault] = {
    "one host rejects the others": lambda net: net.reject(net.victim, net.peers_of(net.victim)),
    "one host rejects everything": lambda net: net.reject(net.victim, [*net.peers_of(net.victim), KAFKA, ETCD]),
    "everything is reset": Network.reset_everything,
    "slow to etcd, one host": lambda net: net.ways(SLOW, [ETCD]),
    "slow to etcd, all": lambda net: net.slow_for_all([ETCD]),
    "slow to Kafka, one host": lambda net: net.ways(SLOW, [KAFKA]),
    "slow to Kafka, all": lambda net: net.slow_for_all([KAFKA]),
    "slow between hosts": lambda net: net.slow_for_all([net.packets.address(each) for each in HOSTS]),
    "cut to etcd": lambda net: net.ways(CUT, [ETCD], back=False),
    "cut from etcd": lambda net: net.ways(CUT, [ETCD], there=False),
    "cut to Kafka": lambda net: net.ways(CUT, [KAFKA], back=False),
    "cut from Kafka": lambda net: net.ways(CUT, [KAFKA], there=False),
    "cut to other hosts": lambda net: net.ways(CUT, net.peers_of(net.victim), back=False),
    "cut from other hosts": lambda net: net.ways(CUT, net.peers_of(net.victim), there=False),
}


@dataclass
class Outcome:
    """`begun`: when, in seconds of `time.monotonic()`; `whole_after`: seconds from the network's healing; `owed`: how
    many partitions hosts had too few of when it began, for an earlier fault's sake: one that has lost locks again and
    again is given nothing for minutes."""

    begun: float
    kind: str
    victim: str
    seconds: float
    moves: list[Moved]
    whole_after: float
    missing: str
    owed: int = 0

    @property
    def needed(self) -> int:
        return sum(self._was_needed(each) for each in self.moves)

    def _was_needed(self, moved: Moved) -> bool:
        """Also when the one before could not read Kafka, and so gave it away."""
        return moved.was_needed or ("Kafka" in self.kind and moved.before.host == self.victim)

    @property
    def returned(self) -> int:
        """Handed over to balance what had to move, now or before: as many at the most."""
        handed = sum(not self._was_needed(each) and each.cause == Cause.HANDED_OVER for each in self.moves)
        return min(handed, self.needed + self.owed)

    @property
    def needless(self) -> int:
        return len(self.moves) - self.needed - self.returned

    @property
    def robbed(self) -> int:
        return sum(each.was_robbed for each in self.moves)

    @property
    def is_good(self) -> bool:
        return not self.robbed and self.needless <= 1 and self.whole_after <= WHOLE_WITHIN


class Storm:
    def __init__(self, cluster: DemoCluster, packets: PacketNetwork, observer: LockObserver) -> None:
        self._cluster, self._observer = cluster, observer
        self._network = Network(packets)

    def fault(self, kind: str, victim: str, seconds: float) -> Outcome:
        self._network.victim = victim
        before, begun, owed = len(self._observer.moves), time.monotonic(), self.owed()
        KINDS[kind](self._network)
        time.sleep(seconds)
        self._network.heal()
        whole_after, missing = self.time_until_whole()
        self.wait_for_rest()
        return Outcome(begun, kind, victim, seconds, self._observer.moves[before:], whole_after, missing, owed)

    def owed(self) -> int:
        return sum(max(0, PARTITIONS // len(HOSTS) - self._observer.count(name)) for name in HOSTS)

    def time_until_whole(self) -> tuple[float, str]:
        """Seconds, and what was missing last."""
        begun, last = time.monotonic(), ""
        produced = list(self._cluster.load.produced)
        while missing := self.missing(produced):
            last = missing
            if time.monotonic() - begun > PATIENCE:
                break
            time.sleep(0.1)
        return time.monotonic() - begun, last

    def missing(self, produced: list[int]) -> str:
        """Empty when every host is whole and everything `produced` is processed."""
        cluster = self._cluster
        for name, host in cluster.hosts.items():
            assert isinstance(host, Machine)
            if not host.is_running:
                return f"{name} has ended"
            if host.peers() < 2 * (len(HOSTS) - 1):
                return f"{name} does not reach the others, or they do not reach it"
        documents = {
            item.key.rpartition("/")[2]: HostDocument.decode(item.value)
            for item in cluster.store.list(cluster.keys.hosts).items
        }
        for name in HOSTS:
            if name not in documents:
                return f"{name} is not in etcd"
            if not documents[name].reads_kafka:
                return f"{name} does not read Kafka"
        if lost := set(cluster.judge.partitions) - cluster.judge.owners().keys():
            return f"nobody owns {min(lost)}"
        if late := [p for p, count in cluster.judge.standbys().items() if count < len(HOSTS) - 1]:
            return f"{late[0]} has too few standbys"
        offsets = cluster.judge.offsets()
        behind = [p for p in cluster.judge.partitions if offsets.get(p, 0) < produced[p.number]]
        return f"{behind[0]} is behind" if behind else ""

    def wait_for_rest(self) -> None:
        """Balancing may go on for some time."""
        begun = time.monotonic()
        while time.monotonic() < begun + PATIENCE:
            last = max([begun, *(each.at for each in self._observer.moves[-1:])])
            counts = [self._observer.count(name) for name in HOSTS]
            if time.monotonic() - last > REST and max(counts) - min(counts) <= 1:
                return
            time.sleep(0.1)


def table(outcomes: list[Outcome]) -> str:
    rows: list[tuple[str, ...]] = [
        ("fault", "times", "needed", "returned", "needless", "robbed", "whole after, s", "longest", "bad")
    ]
    for kind in KINDS:
        found = [each for each in outcomes if each.kind == kind]
        if found:
            whole = [each.whole_after for each in found]
            sums = [sum(counts) for counts in zip(
                *((each.needed, each.returned, each.needless, each.robbed) for each in found), strict=True
            )]  # fmt: skip
            bad = sum(not each.is_good for each in found)
            rows.append((
                kind, str(len(found)), *map(str, sums), f"{median(whole):.1f}", f"{max(whole):.1f}", str(bad)
            ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join((cell.ljust if number == 0 else cell.rjust)(widths[number]) for number, cell in enumerate(row))
        for row in rows
    ]
    return "\n".join(lines)


@click.command()
@click.option("--minutes", default=20.0, show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Repeatable; all unless given.")
@click.option("--seed", type=int, help="As an earlier run said.")
@click.option("--rate", default=100.0, show_default=True, help="Records a second in each partition.")
def network(minutes: float, kinds: tuple[str, ...], seed: int | None, rate: float) -> None:
    """Network faults at random, under load."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP is, under nohup
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    sys.setswitchinterval(0.0005)  # the thread that carries packets waits for no other
    seed = secrets.randbits(16) if seed is None else seed
    click.echo(f"--seed {seed}")
    dice, topic = random.Random(seed), f"storm-{secrets.token_hex(3)}"
    outcomes: list[Outcome] = []
    with services.start() as running:
        create_topic(running.bootstrap_servers, topic, PARTITIONS)
        addresses = running.bootstrap_servers, running.etcd_endpoints
        with (
            PacketNetwork(HOSTS, *addresses) as packets,
            DemoCluster(*addresses, topic, PARTITIONS, HOSTS, rate=rate * PARTITIONS) as cluster,
        ):
            inner = (
                "--topic", topic, "--group", cluster.group, "--bootstrap-servers", packets.bootstrap_servers,
                "--etcd-endpoints", packets.etcd_endpoints, *OPTIONS,
            )  # fmt: skip
            for name, host in cluster.hosts.items():
                host._arguments = [host._arguments[0], *inner]
                cluster.hosts[name] = Machine(host, packets)
            cluster.start(60.0)
            cluster.load.start()
            observer = LockObserver(cluster.store, cluster.keys, LEASE_TTL)
            storm = Storm(cluster, packets, observer)
            if storm.time_until_whole()[0] > PATIENCE:
                sys.exit(f"not whole before any fault: {storm.missing([0] * PARTITIONS)}\n{cluster.logs()}")
            storm.wait_for_rest()
            until = time.monotonic() + 60 * minutes
            queue: list[str] = []
            while time.monotonic() < until:
                if not queue:
                    queue = dice.sample(kinds or list(KINDS), len(kinds or KINDS))
                outcome = storm.fault(queue.pop(), dice.choice(HOSTS), dice.uniform(3.0, 15.0))
                outcomes.append(outcome)
                tell(outcome)
            observer.close()
            click.echo(f"\n{table(outcomes)}")
            verdicts = cluster.finish(60.0)
            report(verdicts, click.echo)
            good = all(each.is_good for each in verdicts) and all(each.is_good for each in outcomes)
            if observer.failed:
                click.echo(observer.failed)
            if not good:
                click.echo(cluster.logs())
    sys.exit(0 if good and not observer.failed else 1)


def tell(outcome: Outcome) -> None:
    click.echo(
        f"{time.strftime('%H:%M:%S')} {outcome.kind}, {outcome.victim}, {outcome.seconds:.1f} s:"
        f" whole after {outcome.whole_after:.1f} s{f' (last: {outcome.missing})' if outcome.missing else ''}"
        f"{'' if outcome.is_good else '  BAD'}"
    )
    for each in outcome.moves:
        click.echo(f"    {each.at - outcome.begun:5.1f} s: {each}{'  ROBBED' if each.was_robbed else ''}")


if __name__ == "__main__":
    network()
