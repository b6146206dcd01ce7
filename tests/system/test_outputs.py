"""Outputs on a real Kafka: an owner is killed at each step between cut and apply, and a read_committed reader sees
each record once, in order, and as the state has it."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from tests.committed import read_committed, seen
from tests.conftest import MakeCluster
from tests.eventually import eventually

PLACES = [
    "before initialise", "initialised", "before prepare", "prepared",
    "begun", "produced", "committed", "before apply",
]  # fmt: skip


def test_an_owner_that_is_killed_at_any_step_loses_and_doubles_nothing(
    make_cluster: MakeCluster, broker: Services, tmp_path: Path
) -> None:
    out = f"out-{secrets.token_hex(4)}"
    create_topic(broker.bootstrap_servers, out, 4)
    cluster = make_cluster(
        handler="tests/handlers/producing.py:forward",
        options=("--output", out),
        rate=400.0,
        environment={"PRODUCE_TO": out, "PLACES": str(tmp_path)},
    )
    cluster.start()
    cluster.load.start()
    for place in PLACES:
        (tmp_path / place).touch()
        with contextlib.suppress(FileNotFoundError):
            if "initialise" in place:  # at a takeover only
                (tmp_path / "committed").touch()
        eventually(f"somebody died at: {place}", lambda: not any(tmp_path.iterdir()), deadline=20)

    verdicts = cluster.finish()

    assert [each for each in verdicts if not each.is_good] == []
    numbers = read_committed(broker.bootstrap_servers, out, 4)
    found = [seen(each, verdict.produced) for each, verdict in zip(numbers, verdicts, strict=True)]
    assert [each for each in found if not each.is_good] == []
