"""The rival's side of a comparison: a parent and its forked members of one consumer group, on one "host".

    python -m tests.benchmarks.members '{"bootstrap_servers": ..., "topic": ..., "group": ..., "members": 4, ...}'

The members read as our workers do: the same fetch settings, `poll(t)` then `consume(n, 0)`, the same handler, and
an asynchronous commit every 100 ms. When partitions are taken away, or the member closes, there is one synchronous
commit, so that a planned change replays nothing. With "restart" the parent forks a dead member's replacement at once,
which has its `group.instance.id`: the best that a parent can do for a group. "transactional" members also send what
they noted on, and commit that and their offset in one transaction of Kafka. Orders are lines on standard input,
"start INDEX"; every started member is told on standard output, "INDEX PID". SIGTERM lets a member close. It all ends
with the standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from tests.benchmarks.handling import FOLDER, handle, note_of

#: As our supervisor tunes its workers.
TUNED = {
    "fetch.queue.backoff.ms": 1,
    "queued.min.messages": 25_000,
    "queued.max.messages.kbytes": 32_768,
    "fetch.wait.max.ms": 100,
    "isolation.level": "read_committed",
}
#: Seconds, as ours.
COMMIT_EVERY = 0.1
BATCH = 500

#: Nothing new, or not a member any more: then others handle it again.
NOTHING_TO_COMMIT = contextlib.suppress(KafkaException)


@dataclass(frozen=True, slots=True)
class Party:
    """Those of one group who live on one host."""

    bootstrap_servers: str
    topic: str
    group: str
    members: int
    config: dict[str, Any]
    restart: bool = False
    static: bool = False
    kind: str = "consumer"
    """Or "quixstreams", or "transactional"."""
    name: str = "a"
    """Of the host: no two members have one instance id."""
    to: str = ""
    """A topic to which what was noted goes on, exactly once."""


@dataclass(slots=True)
class _Parent:
    party: Party
    children: dict[int, tuple[int, int]] = field(default_factory=dict)  # pidfd -> index, pid

    def start(self, index: int) -> None:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
            try:
                _live(self.party, index)
            except BaseException as error:  # nothing of the parent's may run in its child
                print(f"member {index}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        self.children[os.pidfd_open(pid)] = index, pid
        print(index, pid, flush=True)

    def run(self) -> None:
        for index in range(self.party.members):
            self.start(index)
        waiting = select.epoll()
        waiting.register(sys.stdin.fileno(), select.EPOLLIN)
        watched: set[int] = set()
        while True:
            for pidfd in self.children.keys() - watched:
                waiting.register(pidfd, select.EPOLLIN)
                watched.add(pidfd)
            for ready, _ in waiting.poll():
                if ready != sys.stdin.fileno():
                    waiting.unregister(ready)
                    watched.discard(ready)
                    self._bury(ready)
                elif line := os.read(sys.stdin.fileno(), 65536):  # one order: the next waits for the answer
                    self.start(int(line.split()[1]))
                else:
                    return

    def _bury(self, pidfd: int) -> None:
        index, pid = self.children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        if self.party.restart and os.WIFSIGNALED(status):
            self.start(index)


def _live(party: Party, index: int) -> None:
    instance = {"group.instance.id": f"{party.name}{index}"} if party.static else {}
    config = TUNED | party.config | instance
    if party.kind == "quixstreams":
        _stream(party, config)
    elif party.kind == "transactional":
        _forward(party, config, f"{party.group}-{party.name}{index}")
    else:
        _consume(party, config)


def _member(party: Party, config: dict[str, Any]) -> Consumer:
    own = {
        "bootstrap.servers": party.bootstrap_servers,
        "group.id": party.group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    }
    return Consumer(config | own)


def _consume(party: Party, config: dict[str, Any]) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    consumer = _member(party, config)
    states: defaultdict[int | None, dict[str, Any]] = defaultdict(dict)

    def revoked(consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        with NOTHING_TO_COMMIT:
            consumer.commit(asynchronous=False)

    consumer.subscribe([party.topic], on_revoke=revoked)
    commit_at = 0.0
    while not stopped:
        first = consumer.poll(0.1)
        if first is None:
            continue
        records: list[Message] = [first, *consumer.consume(BATCH - 1, 0)]
        for record in records:
            if record.error() is None:
                handle(record, states[record.partition()])
        if time.monotonic() >= commit_at:
            with NOTHING_TO_COMMIT:
                consumer.commit(asynchronous=True)
            commit_at = time.monotonic() + COMMIT_EVERY
    consumer.close()  # asks `revoked` first


def _forward(party: Party, config: dict[str, Any], name: str) -> None:
    """`name`: the transactional.id. A transaction is given up as late as a silent member."""
    consumer = _member(party, config)
    producer = Producer({
        "bootstrap.servers": party.bootstrap_servers, "transactional.id": name, "retry.backoff.ms": 5,
        "transaction.timeout.ms": config["session.timeout.ms"], "log_level": 2,
    })  # fmt: skip
    producer.init_transactions(60.0)
    states: defaultdict[int | None, dict[str, Any]] = defaultdict(dict)
    is_begun = False

    def commit() -> None:
        nonlocal is_begun
        if is_begun:
            is_begun = False
            places = consumer.position(consumer.assignment())
            producer.send_offsets_to_transaction(
                [each for each in places if each.offset >= 0], consumer.consumer_group_metadata()
            )
            producer.commit_transaction()

    consumer.subscribe([party.topic], on_revoke=lambda _consumer, _partitions: commit())
    commit_at = 0.0
    while True:
        first = consumer.poll(0.1)
        records: list[Message] = [first, *consumer.consume(BATCH - 1, 0)] if first is not None else []
        for record in records:
            if record.error() is None:
                if not is_begun:
                    producer.begin_transaction()
                    is_begun = True
                handle(record, states[record.partition()])
                producer.produce(party.to, note_of(record), partition=record.partition() or 0)
        if time.monotonic() >= commit_at:
            commit()
            commit_at = time.monotonic() + COMMIT_EVERY


def _stream(party: Party, config: dict[str, Any]) -> None:
    """The same with quixstreams, which has its own loop and commits."""
    quixstreams = import_module("quixstreams")  # only its own environment has it

    class Record:
        """What the handler asks a record for."""

        __slots__ = ("_value",)

        def __init__(self, value: bytes) -> None:
            self._value = value

        def value(self) -> bytes:
            return self._value

        def partition(self) -> int:
            return int(quixstreams.message_context().partition)

    application = quixstreams.Application(
        broker_address=party.bootstrap_servers,
        consumer_group=party.group,
        auto_offset_reset="earliest",
        commit_interval=COMMIT_EVERY,
        consumer_extra_config=config,
        processing_guarantee="exactly-once" if party.to else "at-least-once",
        producer_extra_config={"transaction.timeout.ms": config["session.timeout.ms"]} if party.to else {},
        loglevel="ERROR",
        state_dir=f"{os.environ[FOLDER]}/{os.getpid()}",
    )
    states: defaultdict[int, dict[str, Any]] = defaultdict(dict)

    def note(value: bytes) -> bytes:
        record = Record(value)
        handle(record, states[record.partition()])
        return note_of(record)

    topic = application.topic(party.topic, key_deserializer="bytes", value_deserializer="bytes")
    stream = application.dataframe(topic).apply(note)
    if party.to:
        stream.to_topic(application.topic(party.to, key_serializer="bytes", value_serializer="bytes"))
    application.run()


def main() -> None:
    party = Party(**json.loads(sys.argv[1]))
    if party.kind == "quixstreams":
        import_module("quixstreams")  # once, before the forks
    _Parent(party).run()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
