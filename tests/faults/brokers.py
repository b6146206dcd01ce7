"""Three brokers of Kafka as processes of this machine, to be restarted one after the other."""

from __future__ import annotations

import socket
from functools import partial
from types import TracebackType
from typing import Self

from partition_supervisor.dev.services import local
from partition_supervisor.dev.services.part import kafka_answers
from partition_supervisor.dev.services.processes import Processes, free_ports

#: How many, and what differs from a broker that is alone.
COUNT = 3
_REPLICATED = {
    "default.replication.factor": "3",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "min.insync.replicas": "2",
    # With the fifty of the default, three brokers on two cores are at work on nothing else while one restarts.
    "offsets.topic.num.partitions": "6",
    "transaction.state.log.num.partitions": "6",
}


class Brokers:
    """They end with this, or with this process."""

    def __init__(self) -> None:
        self._processes = Processes()
        try:
            libraries, _ = local._kafka_libraries(self._processes, lambda _words: None)
            ports = free_ports(3 * COUNT)
            voters = ",".join(f"{n + 1}@127.0.0.1:{ports[3 * n + 2]}" for n in range(COUNT))
            cluster_id = local._cluster_id()
            for number in range(COUNT):
                client, internal, controller = (f"127.0.0.1:{each}" for each in ports[3 * number : 3 * number + 3])
                clients = f"PLAINTEXT://{client},INTERNAL://{internal}"
                settings = local.kafka_settings(
                    listeners=f"{clients},CONTROLLER://{controller}", advertised=clients, controller=controller,
                    data=str(self._processes.folder / f"kafka-{number}"),
                )  # fmt: skip
                settings |= _REPLICATED | {"node.id": str(number + 1), "controller.quorum.voters": voters}
                properties = self._processes.folder / f"kafka-{number}.properties"
                properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
                java = [str(local._java()), f"{libraries}/*", str(properties), cluster_id]
                self._processes.start(f"kafka-{number}", ["sh", "-c", local.FORMAT_AND_RUN, *java])
            self.addresses = [f"127.0.0.1:{ports[3 * number]}" for number in range(COUNT)]
            for number in range(COUNT):
                self.wait_for(number)
        except BaseException:
            self._processes.stop()
            raise

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(self.addresses)

    def restart(self, number: int) -> None:
        """Kill one, and have it come back."""
        self._processes.restart(f"kafka-{number}")
        self.wait_for(number)

    def wait_for(self, number: int) -> None:
        """Until it listens, and the cluster answers."""
        self._processes.wait_for(f"kafka-{number}", partial(self._answers, self.addresses[number]), 120.0)

    def stop(self) -> None:
        self._processes.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @staticmethod
    def _answers(address: str) -> bool:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
        except OSError:
            return False
        return kafka_answers(address)
