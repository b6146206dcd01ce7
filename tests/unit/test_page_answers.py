"""What the page's server answers, asked without a network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from partition_supervisor.web.app import Settings, application
from partition_supervisor.web.broadcast import Broadcast
from partition_supervisor.web.group_model import GroupModel
from partition_workers.layout.documents import History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

P = Partition("events", 3)
REASON = "bad record: \udcff"


def history_of(partition: Partition) -> list[History]:
    return [History(7, "w", "a", 1, "acquired", "then", reason=REASON)] if partition == P else []


def get(path: str) -> tuple[int, Any]:
    """The status, and what is in the JSON."""
    model = GroupModel(Keys("/test/g"), "g")
    app = application(Settings("g", ("localhost",)), Broadcast(model), history_of, lambda: None, lambda: None)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path, "root_path": "",
        "raw_path": path.encode(), "query_string": b"", "headers": [(b"host", b"localhost")], "client": None,
        "server": ("localhost", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    body = b"".join(each.get("body", b"") for each in sent)
    return sent[0]["status"], json.loads(body)


def test_the_history_of_a_partition_is_told() -> None:
    """Whatever a reason holds: half a pair of surrogates is no text, and is escaped."""
    status, answer = get("/api/v1/partitions/events/3/history")
    assert (status, [each["reason"] for each in answer["history"]]) == (200, ["bad record: \udcff"])
    assert get("/api/v1/partitions/events/0000000003/history") == (status, answer)


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 11, "x", "-1", "٣", "1.0"])
def test_what_is_no_number_is_one_clear_answer(number: str) -> None:
    """Python reads no more than 4,300 digits."""
    status, answer = get(f"/api/v1/partitions/events/{number}/history")
    assert status == 404
    assert answer["error"] == f"{number[:40]!r} is no number of a partition"


def test_the_picture_says_which_change_it_ends_with() -> None:
    status, answer = get("/api/v1/group")
    assert (status, answer["event_id"], answer["silent"]) == (200, "0.1000000", {})
