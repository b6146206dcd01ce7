"""A handler whose target keeps its own position: the partition starts there."""

from __future__ import annotations

from typing import Any

import pytest

from partition_workers.errors import ExitCode, Lost, Stale
from partition_workers.protocol import WasParked
from tests.fakes.ownership import Stage


def opened_at(stage: Stage, position: object) -> type:
    class Target:
        def open(self, context: Any) -> object:
            if isinstance(position, Exception):
                raise position
            return position

        def handle(self, record: Any, state: Any) -> None:
            stage.handle(record, state)

    return Target


@pytest.mark.parametrize("position", [0, 2, 5, 9, 10])
def test_it_starts_where_the_target_stands(position: int) -> None:
    stage = Stage()
    stage.a_predecessor(5, {})

    assert stage.owner(opened_at(stage, position)).work() is ExitCode.OK

    assert stage.handled == list(range(position, 10))
    assert stage.offset[0] == 10


@pytest.mark.parametrize("position", [11, 100])
def test_a_position_that_kafka_does_not_have_parks(position: int) -> None:
    stage = Stage()

    assert stage.owner(opened_at(stage, position)).work() is ExitCode.HANDLER_GAVE_UP

    assert f"stands at offset {position}" in stage.report(WasParked).reason
    assert stage.handled == []


@pytest.mark.parametrize("result", [True, -1, "5", 5.0])
def test_what_is_no_offset_is_an_error_of_open(result: object) -> None:
    stage = Stage()

    assert stage.owner(opened_at(stage, result)).work() is ExitCode.HANDLER_GAVE_UP

    assert "open() returned" in stage.report(WasParked).reason


def test_a_target_that_a_newer_owner_has_been_at_ends_the_ownership() -> None:
    stage = Stage()

    with pytest.raises(Lost):
        stage.owner(opened_at(stage, Stale("token 7"))).work()
