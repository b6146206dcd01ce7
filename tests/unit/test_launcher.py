"""Processes are made in a thread, and what becomes of it is told to the loop."""

from __future__ import annotations

from typing import cast

import pytest

from partition_supervisor.events import Event
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.processes.launch import Launched
from partition_supervisor.processes.launcher import Launch, Launcher
from tests.eventually import eventually


class Making:
    """A fork server that makes a process, or fails to."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def launch(self, *_arguments: object) -> Launched:
        if self._error is not None:
            raise self._error
        return cast(Launched, None)


class Telling:
    def __init__(self, order: list[str]) -> None:
        self._order = order

    def post(self, _event: Event) -> None:
        self._order.append("told")


@pytest.mark.parametrize("error", [None, OSError(11, "full"), EOFError()])
def test_what_was_given_is_closed_before_the_loop_is_told(error: Exception | None) -> None:
    """The loop closes what is left; closed by both at once, it would end the supervisor, or somebody else's file."""
    order: list[str] = []
    launcher = Launcher(cast(ForkServer, Making(error)), cast(Inbox, Telling(order)))
    launcher.ask(
        Launch(print, (), "name", lambda: order.append("given"), lambda _launched: None, lambda _error: None)
    )
    eventually("both have happened", lambda: len(order) == 2)
    assert order == ["given", "told"]
