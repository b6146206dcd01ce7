"""A whole cluster for a demonstration or a test: hosts, load, and a judge, over services that are there already."""

from __future__ import annotations

import secrets
from types import TracebackType

from partition_supervisor.dev.demo.hosts import Host
from partition_supervisor.dev.demo.judge import Judge, Verdict, wait_for
from partition_supervisor.dev.demo.load import Load
from partition_supervisor.dev.services.processes import Processes
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.layout.keys import Keys

HANDLER = "partition_supervisor.dev.demo.checking:check"


class DemoCluster:
    """Hosts of one group over one topic, which must exist. What it started ends with it, or with this process."""

    def __init__(
        self,
        bootstrap_servers: str,
        etcd_endpoints: str,
        topic: str,
        partitions: int,
        hosts: tuple[str, ...] = ("host-a", "host-b"),
        rate: float = 2000.0,
        options: tuple[str, ...] = (),
        handler: str = HANDLER,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._processes = Processes()
        self.group = f"demo-{secrets.token_hex(3)}"
        self.topic = topic
        self.keys = Keys.of("partition-supervisor", self.group)
        self.store = Etcd(EtcdOptions(parse_endpoints(etcd_endpoints)))
        self.judge = Judge(self.store, self.keys, topic, partitions)
        self.load = Load(bootstrap_servers, topic, partitions, rate)
        arguments = [
            handler, "--topic", topic, "--group", self.group, "--bootstrap-servers", bootstrap_servers,
            "--etcd-endpoints", etcd_endpoints, *options,
        ]  # fmt: skip
        self.hosts = {name: Host(self._processes, name, arguments, environment) for name in hosts}

    def start(self, deadline: float = 30.0) -> None:
        """Every host, one after the other, until every partition has an owner, and a standby on each other host."""
        for host in self.hosts.values():
            host.start()
        self.wait_until_complete(deadline)

    def wait_until_complete(self, deadline: float = 30.0) -> None:
        running = sum(host.is_running for host in self.hosts.values())

        def complete() -> bool:
            standbys = self.judge.standbys()
            owned = len(self.judge.owners()) == len(self.judge.partitions)
            return owned and all(count >= running - 1 for count in standbys.values())

        wait_for("every partition has an owner and a standby on each other host", complete, deadline)

    def finish(self, deadline: float = 30.0) -> list[Verdict]:
        """End the load, wait until everything is processed, and judge."""
        produced = self.load.stop()
        wait_for("everything that was produced is processed", lambda: self.judge.caught_up(produced), deadline)
        return self.judge.verdicts(produced)

    def logs(self) -> str:
        return "".join(
            f"--- {h.name}\n{h.log.read_text(errors='replace')}" for h in self.hosts.values() if h.log.exists()
        )

    def close(self) -> None:
        self.load.end()
        for host in self.hosts.values():
            host.end()
        self.store.close()
        self._processes.stop()

    def __enter__(self) -> DemoCluster:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
