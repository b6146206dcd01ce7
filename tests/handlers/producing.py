"""Handlers that produce: each record goes on, with its number, to the partition of the same number. Its key is one of
five, for each of which the state keeps what was sent last."""

from __future__ import annotations

import os
from typing import Any

from partition_supervisor.dev.demo.checking import check
from partition_workers import Context
from tests.handlers.places import FOLDER, TIMES, reached

#: The topic to produce to.
TOPIC = os.environ.get("PRODUCE_TO", "")
#: From how many outputs on they are sent ahead of their step; not given: from as many as in earnest.
AHEAD = os.environ.get("PRODUCE_AHEAD")
#: How many keys there are.
KEYS = 5

_raised: set[tuple[int, int]] = set()


def forward(record: Any, state: Any, context: Context) -> None:
    check(record, state)
    number = state["next"] - 1
    key = f"key-{number % KEYS}"
    state[key] = state["sum"]
    context.produce(TOPIC, b"%d %d" % (number, state["sum"]), key=key, partition=context.partition.number)


def raise_after_producing(record: Any, state: Any, context: Context) -> None:
    """At every twentieth record, once in each process."""
    forward(record, state, context)
    place = context.partition.number, state["next"]
    if place[1] % 20 == 7 and place not in _raised:
        _raised.add(place)
        raise RuntimeError("raised after producing, as it should be")


def _watch_steps() -> None:
    """Every step between cut and apply is a place."""
    from partition_workers.kafka import transaction, transactional_producer
    from partition_workers.kafka.transaction import Transaction
    from partition_workers.kafka.transactional_producer import TransactionalProducer
    from partition_workers.output_commits import OutputCommits
    from partition_workers.ownership.lock import PartitionLock

    launch, stored = OutputCommits._launch, OutputCommits._stored
    send, ahead, end = Transaction._send, Transaction.send_ahead, Transaction._end
    commit = TransactionalProducer.commit
    initialise, look, confirm = TransactionalProducer.initialise, TransactionalProducer.look, PartitionLock.confirm
    ending: Any = transaction
    initialising: Any = transactional_producer
    try_one, insist = initialising._initialise, ending.insist

    def watched_launch(self: Any, flight: Any) -> None:
        reached("before prepare" if self._step is not None else "before apply")
        launch(self, flight)

    def watched_stored(self: Any, flight: Any) -> None:
        if self._step is not None:
            reached("prepared")
        stored(self, flight)

    def watched_send(self: Any, *arguments: Any) -> None:
        reached("begun")
        send(self, *arguments)

    def watched_ahead(self: Any, *arguments: Any) -> None:
        ahead(self, *arguments)
        reached("sent ahead")

    def watched_end(self: Any, *arguments: Any) -> None:
        reached("produced")
        end(self, *arguments)

    def watched_insist(call: Any, given_up: Any) -> None:
        """Of the two calls that end a transaction, this is before and after the first: K is in it by then."""
        insist(call, given_up)
        reached("offsets sent")

    def watched_commit(self: Any, *arguments: Any) -> None:
        commit(self, *arguments)
        reached("committed")

    def watched_initialise(self: Any) -> None:
        reached("before initialise")
        initialise(self)
        reached("initialised")

    def watched_try(producer: Any) -> Any:
        error = try_one(producer)
        reached(f"tried to initialise: {error.name() if error is not None else 'done'}")
        return error

    def watched_look(self: Any, *arguments: Any) -> Any:
        reached("before look at K")
        found = look(self, *arguments)
        reached("looked at K")
        return found

    def watched_confirm(self: Any, *arguments: Any) -> Any:
        reached("before confirm")
        found = confirm(self, *arguments)
        reached("confirmed")
        return found

    OutputCommits._launch, OutputCommits._stored = watched_launch, watched_stored  # type: ignore[method-assign]
    PartitionLock.confirm = watched_confirm  # type: ignore[assignment, method-assign]
    initialising._initialise, ending.insist = watched_try, watched_insist
    for kind, name, watched in (
        (Transaction, "_send", watched_send), (Transaction, "send_ahead", watched_ahead),
        (Transaction, "_end", watched_end), (TransactionalProducer, "commit", watched_commit),
        (TransactionalProducer, "initialise", watched_initialise), (TransactionalProducer, "look", watched_look),
    ):  # fmt: skip
        setattr(kind, name, watched)


def _send_ahead(count: int) -> None:
    """From so many outputs on, instead of thousands."""
    from partition_workers import loading

    settings: Any = loading
    settings.MANY = count, settings.MANY[1]


if FOLDER or TIMES:
    _watch_steps()
if AHEAD:
    _send_ahead(int(AHEAD))
