"""What a read_committed reader sees of the notes that a system sends on: when, and whether each once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.handling import NOTE
from tests.benchmarks.members import TUNED
from tests.benchmarks.probe import Account, Note, Takeover, takeover


class Watching:
    """Reads a topic from its beginning, in a thread, until it is closed. A note is "handled" when it was seen."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        self.accounts: defaultdict[int, Account] = defaultdict(lambda: Account(bytearray()))
        self._recent: list[Note] = []
        self._lock = threading.Lock()
        self._is_over = False
        self._consumer = Consumer(
            TUNED | {"bootstrap.servers": bootstrap_servers, "group.id": "watching", "enable.auto.commit": False}
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self._thread = threading.Thread(target=self._read, name="watching", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Before a fault."""
        with self._lock:
            self._recent = []

    def await_takeover(self, who: str, partition: int, at: int, before: int, deadline: float) -> Takeover:
        """The first that somebody else than `before` has sent on, as it was seen after `at`. Raises TimeoutError."""
        found: list[Takeover] = []

        def goes_on() -> bool:
            with self._lock:
                recent = self._recent.copy()
            seen = takeover(recent, partition, at, before)
            found.extend([seen] if seen else [])
            return bool(found)

        self._wait_for(f"{who}: a reader sees what comes next of partition {partition}", goes_on, deadline)
        return found[0]

    def facts(self, produced: list[int], deadline: float = 30.0) -> dict[str, float | int | str]:
        """Of everything so far."""

        def lost() -> int:
            with self._lock:
                return sum(self.accounts[number].lost(count) for number, count in enumerate(produced))

        with contextlib.suppress(TimeoutError):  # what never comes is lost
            self._wait_for("all is seen", lambda: not lost(), deadline)
        doubled = sum(self.accounts[number].doubled for number in range(len(produced)))
        return {"lost for the reader": lost(), "doubled for the reader": doubled}

    def close(self) -> None:
        self._is_over = True
        self._thread.join(10.0)
        self._consumer.close()

    def _wait_for(self, what: str, check: Callable[[], bool], deadline: float) -> None:
        until = time.monotonic() + deadline
        while not check():
            if time.monotonic() > until:
                raise TimeoutError(f"not within {deadline:g} s: {what}")
            time.sleep(0.05)  # those who are measured have the processor meanwhile

    def _read(self) -> None:
        while not self._is_over:
            first = self._consumer.poll(0.2)
            records = [first, *self._consumer.consume(500, 0)] if first is not None else []
            at = time.monotonic_ns()
            with self._lock:
                for each in records:
                    if each.error() is None:
                        partition, pid, sequence, produced, _handled = NOTE.unpack(each.value() or b"")
                        self._recent.append(Note(partition, pid, sequence, produced, at))
                        self.accounts[partition].add(sequence)

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
