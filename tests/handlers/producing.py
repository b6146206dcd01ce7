"""Handlers that produce: each record goes on, with its number, to the partition of the same number."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from partition_supervisor.dev.demo.checking import check
from partition_workers import Context

#: The topic to produce to; and a folder in which a file `PLACE` has whoever comes there first die.
TOPIC = os.environ.get("PRODUCE_TO", "")
PLACES = os.environ.get("DIE_AT", "")


def forward(record: Any, state: Any, context: Context) -> None:
    check(record, state)
    context.produce(TOPIC, record.value(), partition=context.partition.number)


def die_at(place: str) -> None:
    """kill -9, once for each file."""
    try:
        (Path(PLACES) / place).unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _watch_steps() -> None:
    """Every step between cut and apply, as a place to die at."""
    from partition_workers.kafka.transactional_producer import TransactionalProducer
    from partition_workers.output_commits import OutputCommits

    launch, stored = OutputCommits._launch, OutputCommits._stored
    send, end, commit = TransactionalProducer._send, TransactionalProducer._end, TransactionalProducer.commit
    initialise = TransactionalProducer.initialise

    def watched_launch(self: Any, flight: Any) -> None:
        die_at("before prepare" if self._step is not None else "before apply")
        launch(self, flight)

    def watched_stored(self: Any, flight: Any) -> None:
        if self._step is not None:
            die_at("prepared")
        stored(self, flight)

    def watched_send(self: Any, *arguments: Any) -> None:
        die_at("begun")
        send(self, *arguments)

    def watched_end(self: Any, *arguments: Any) -> None:
        die_at("produced")
        end(self, *arguments)

    def watched_commit(self: Any, *arguments: Any) -> None:
        commit(self, *arguments)
        die_at("committed")

    def watched_initialise(self: Any) -> None:
        die_at("before initialise")
        initialise(self)
        die_at("initialised")

    OutputCommits._launch, OutputCommits._stored = watched_launch, watched_stored  # type: ignore[method-assign]
    for name, watched in (
        ("_send", watched_send), ("_end", watched_end), ("commit", watched_commit), ("initialise", watched_initialise)
    ):  # fmt: skip
        setattr(TransactionalProducer, name, watched)


if PLACES:
    _watch_steps()
