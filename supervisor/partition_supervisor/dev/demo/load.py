"""A steady stream of numbered records, 0, 1, 2, ... in each partition, and the knowledge of how many were taken.

Idempotent, because a producer that retries may swap two records, and that would look like our fault.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import Producer

from partition_supervisor.kafka.sample_producer import SampleTopics


def create_topic(bootstrap_servers: str, topic: str, partitions: int) -> None:
    """Create the topic if it is not there."""
    SampleTopics({"bootstrap.servers": bootstrap_servers, "log_level": 2}).prepare(topic, partitions, timeout=15.0)


class Load:
    """`rate`: records a second, over all partitions together."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int, rate: float, size: int = 100) -> None:
        self.produced = [0] * partitions
        self._topic, self._rate, self._size = topic, rate, size
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "log_level": 2}
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[int]:
        """How many records each partition has got; all of them acknowledged."""
        self._stopped.set()
        self._thread.join()
        left = self._producer.flush(30.0)
        if left:
            raise TimeoutError(f"{left} records were not acknowledged within 30 s")
        del self._producer
        return self.produced

    def end(self) -> None:
        """Whatever happened: nothing is produced any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        begun, rounds = time.monotonic(), 0
        while not self._stopped.is_set():
            for partition in range(len(self.produced)):
                number = self.produced[partition]
                self._producer.produce(self._topic, b"%d " % number + b"." * self._size, partition=partition)
                self.produced[partition] += 1
            self._producer.poll(0)
            rounds += 1
            ahead = rounds * len(self.produced) / self._rate - (time.monotonic() - begun)
            if ahead > 0:
                self._stopped.wait(ahead)
