"""From one model to many browsers, on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from partition_supervisor.web.group_model import EventId, GroupModel, ServerEvent

#: Events that a browser may be behind. One that is slower is let go: it comes back, and says what it saw last.
BACKLOG = 2_000


class Broadcast:
    """Not thread-safe: everything happens on the loop of the server."""

    def __init__(self, model: GroupModel) -> None:
        self.model = model
        self._browsers: set[asyncio.Queue[ServerEvent | None]] = set()

    @property
    def browsers(self) -> int:
        return len(self._browsers)

    def tell(self, event: ServerEvent | None) -> None:
        if event is None:
            return
        for queue in list(self._browsers):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._browsers.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    def close(self) -> None:
        """End all streams: the browsers go to another server, or wait for this one."""
        for queue in self._browsers:
            while queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
        self._browsers.clear()

    async def events(self, seen: EventId | None) -> AsyncIterator[ServerEvent]:
        """What comes after `seen`, without a gap and without a double; a snapshot first where that cannot be."""
        queue: asyncio.Queue[ServerEvent | None] = asyncio.Queue(BACKLOG)
        self._browsers.add(queue)
        try:
            missed = self.model.since(seen) if seen is not None else None
            if missed is None or seen is None:
                first = self.model.snapshot()
                yield first
                position = first.id or EventId(0)
            else:
                position = seen
                for event in missed:
                    yield event
                    position = event.id or position
                yield self.model.progress()
                for told in self.model.silences():
                    yield told
            while (event_now := await queue.get()) is not None:
                if event_now.id is None or event_now.name == "snapshot":
                    yield event_now
                    position = event_now.id or position
                elif event_now.id > position:
                    yield event_now
                    position = event_now.id
        finally:
            self._browsers.discard(queue)
