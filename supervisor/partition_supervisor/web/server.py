"""The composition root of the page: threads that follow the group, and the server that tells browsers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial

import uvicorn

from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_supervisor.web.app import Settings, application
from partition_supervisor.web.broadcast import Broadcast
from partition_supervisor.web.group_feed import GroupFeed
from partition_supervisor.web.group_model import GroupModel
from partition_workers.etcd.store import Store
from partition_workers.layout.documents import History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

#: Seconds that open streams get to end at a stop.
GRACE = 1


def serve(
    settings: Settings,
    listening: socket.socket,
    store: Store,
    keys: Keys,
    ends: EndOffsets,
    ready: Callable[[], None],
) -> None:
    """Until INT or TERM. Raises Retry, Refused and their like when etcd does not answer at the start."""
    model = GroupModel(keys, settings.group)
    broadcast = Broadcast(model)
    loop = asyncio.new_event_loop()

    def on_loop(action: Callable[[], None]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(action)

    def load(*listed: object) -> None:
        model.load(*listed)  # type: ignore[arg-type]
        broadcast.tell(model.snapshot())

    def answers(which: str, error: str | None) -> None:
        on_loop(lambda: broadcast.tell(model.answers(which, error)))

    feed = GroupFeed(
        store, keys, ends,
        loaded=lambda *listed: on_loop(partial(load, *listed)),
        changed=lambda change: on_loop(lambda: broadcast.tell(model.change(change))),
        measured=lambda *found: on_loop(lambda: broadcast.tell(model.measure(*found))),
        answers=answers,
    )  # fmt: skip
    snapshot, history = feed.list()
    watched_from = feed.begin_before(snapshot.revision)
    model.load(snapshot, history, watched_from)
    server: uvicorn.Server

    def ended() -> None:
        feed.close()

    def history_of(partition: Partition) -> list[History]:
        records = []
        for item in store.list(keys.histories(partition)).items:
            with contextlib.suppress(ValueError):  # none of ours
                records.append(History.decode(item.value))
        return records

    app = application(settings, broadcast, history_of, started=lambda: feed.start(watched_from), ended=ended)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE)
    server = EndingStreams(config, broadcast)
    ready()
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.serve([listening]))
    except KeyboardInterrupt:  # uvicorn raises again the signal that it obeyed
        pass
    finally:
        feed.close()


class EndingStreams(uvicorn.Server):
    """Ends the streams first: they would hold up the end of the server for as long as browsers like."""

    def __init__(self, config: uvicorn.Config, broadcast: Broadcast) -> None:
        super().__init__(config)
        self._broadcast = broadcast

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._broadcast.close()
        await super().shutdown(sockets)
