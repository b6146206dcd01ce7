"""The producer of all systems, in a process of its own: records with a sequence and the time, at a steady rate.

    python -m tests.benchmarks.feeding BOOTSTRAP_SERVERS

It takes one JSON object in a line from standard input and answers each: {"feed": topic, "partitions": n, "rate": r}
(records a second in each partition; again: another rate) and {"stop": topic}. The answer to a stop is how many
records each partition has got in all, every one acknowledged. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from tests.benchmarks.handling import STAMP

#: A record is so many bytes.
SIZE = 100


@dataclass(slots=True)
class _Fed:
    counts: list[int]
    period: float
    due: float
    padding: bytes = field(default=b"." * (SIZE - STAMP.size))


class _Feeder:
    def __init__(self, bootstrap_servers: str) -> None:
        # Lingering 5 ms, as by default: a request for each record would keep the broker from those who are measured.
        self.producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "log_level": 2})
        self.fed: dict[str, _Fed] = {}
        self.counts: dict[str, list[int]] = {}

    def obey(self, order: dict[str, Any]) -> object:
        if topic := order.get("feed"):
            counts = self.counts.setdefault(topic, [0] * order["partitions"])
            self.fed[topic] = _Fed(counts, 1 / order["rate"], time.monotonic())
            return True
        self.fed.pop(order["stop"], None)
        self.producer.flush(30.0)
        return self.counts.get(order["stop"])

    def feed(self) -> float:
        """All that is due. Seconds until the next."""
        moment = time.monotonic()
        for topic, fed in self.fed.items():
            while fed.due <= moment:
                for partition, sequence in enumerate(fed.counts):
                    value = STAMP.pack(sequence, time.monotonic_ns()) + fed.padding
                    self.producer.produce(topic, value, partition=partition)
                    fed.counts[partition] += 1
                fed.due += fed.period
        self.producer.poll(0)
        return min((fed.due - time.monotonic() for fed in self.fed.values()), default=1.0)


def main() -> None:
    feeder = _Feeder(sys.argv[1])
    waiting = select.poll()
    waiting.register(sys.stdin.fileno(), select.POLLIN)
    while True:
        if waiting.poll(max(0.0, feeder.feed() * 1000)):
            line = os.read(sys.stdin.fileno(), 65536)  # whole: the next is written when this one is answered
            if not line:
                return
            print(json.dumps(feeder.obey(json.loads(line))), flush=True)


class Feeding:
    """The measuring side: start, tell, end."""

    def __init__(self, bootstrap_servers: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.feeding", bootstrap_servers]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def feed(self, topic: str, partitions: int, rate: float) -> None:
        """`rate`: records a second in each partition."""
        self._order({"feed": topic, "partitions": partitions, "rate": rate})

    def stop(self, topic: str) -> list[int]:
        """How many records each partition has got."""
        counts: list[int] = self._order({"stop": topic})
        return counts

    def forget(self, topic: str) -> None:
        """At the end of whoever reads the topic, even if the producer has ended before."""
        with contextlib.suppress(RuntimeError, OSError):
            self._order({"stop": topic})

    def _order(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the producer of the benchmarks has ended")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(35.0)

    def __enter__(self) -> Feeding:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    main()
