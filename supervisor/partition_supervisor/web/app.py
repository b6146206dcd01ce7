"""The HTTP server of the page: static files, JSON below `/api/v1`, and server-sent events. Read only."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from partition_supervisor.web.broadcast import Broadcast
from partition_supervisor.web.group_model import EventId, ServerEvent, text
from partition_workers.errors import PartitionSupervisorError
from partition_workers.layout.documents import History
from partition_workers.model import Partition

#: Seconds between two signs of life on a stream, so that proxies keep it and a dead browser is noticed.
PING = 10
#: Kafka counts no further.
NUMBER = re.compile("[0-9]{1,10}", re.ASCII)
STATIC = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "model.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """`hosts`: names under which the server may be called, against pages that rebind a name to it. `others`: further
    servers of the same page, as origins (`http://host:port`), where a browser goes on when this one is gone."""

    group: str
    hosts: tuple[str, ...]
    others: tuple[str, ...] = ()


def application(
    settings: Settings,
    broadcast: Broadcast,
    history_of: Callable[[Partition], list[History]],
    started: Callable[[], None],
    ended: Callable[[], None],
) -> Starlette:
    """`history_of` blocks and may raise PartitionSupervisorError; `started` and `ended` run on the server's loop."""

    async def page(request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        if name not in STATIC:
            return PlainTextResponse("there is no such page", 404)
        content = (files("partition_supervisor.web") / "static" / name).read_bytes()
        return Response(content, media_type=STATIC[name], headers={"Cache-Control": "no-cache"})

    async def about(_request: Request) -> Response:
        return JSONResponse({"schema_version": 1, "group": settings.group, "others": list(settings.others)})

    async def group(_request: Request) -> Response:
        return Response(text(broadcast.model.as_json()), media_type="application/json")

    async def history(request: Request) -> Response:
        written = request.path_params["number"]
        if not NUMBER.fullmatch(written):
            return JSONResponse({"error": f"{written[:40]!r} is no number of a partition"}, 404)
        partition = Partition(request.path_params["topic"], int(written))
        try:
            found = await run_in_threadpool(history_of, partition)
        except PartitionSupervisorError as error:
            return JSONResponse({"error": str(error)}, 503)
        told = text({"schema_version": 1, "history": [asdict(record) for record in found]})
        return Response(told, media_type="application/json")

    async def events(request: Request) -> Response:
        written = request.headers.get("last-event-id") or request.query_params.get("last-event-id")
        try:
            seen = EventId.parse(written) if written else None
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)

        async def stream() -> AsyncIterator[dict[str, Any]]:
            async for event in broadcast.events(seen):
                yield as_sse(event)

        return EventSourceResponse(stream(), ping=PING, headers={"X-Accel-Buffering": "no"})

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        started()
        try:
            yield
        finally:
            ended()
            await asyncio.sleep(0)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/v1/about", about),
            Route("/api/v1/group", group),
            Route("/api/v1/partitions/{topic}/{number}/history", history),
            Route("/api/v1/events", events),
            Route("/livez", livez),
            Route("/{name}", page),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False),
            Middleware(SafeHeaders, others=settings.others),
        ],
        lifespan=lifespan,
    )


class SafeHeaders:
    """Nothing from elsewhere, no script but ours, in no frame; the `others` may be asked by the page, and may ask."""

    def __init__(self, app: ASGIApp, others: tuple[str, ...]) -> None:
        self._app, self._others = app, others
        self._policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'; connect-src " + " ".join(["'self'", *others])
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["Content-Security-Policy"] = self._policy
                answer["X-Content-Type-Options"] = "nosniff"
                answer["Referrer-Policy"] = "no-referrer"
                origin = Headers(scope=scope).get("origin")
                if origin in self._others:
                    answer["Access-Control-Allow-Origin"] = str(origin)
                    answer["Vary"] = "Origin"
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def as_sse(event: ServerEvent) -> dict[str, Any]:
    fields: dict[str, Any] = {"event": event.name, "data": event.data}
    if event.id is not None:
        fields["id"] = str(event.id)
    return fields
