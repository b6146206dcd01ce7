"""`status --watch`: it ends when it is told to, whoever has the exception."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from partition_supervisor.admin.group_view import GroupView
from partition_supervisor.commands.status import show_again_and_again


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_signal_ends_it_though_its_exception_is_lost(
    number: signal.Signals, is_lost: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a finalizer, or in a callback of a library, where Python ignores what is raised."""
    readings = 0

    def read() -> GroupView:
        nonlocal readings
        readings += 1
        assert readings < 10, "it goes on and on"
        if readings == 3:
            with contextlib.suppress(KeyboardInterrupt) if is_lost else contextlib.nullcontext():
                signal.raise_signal(number)
        return GroupView((), ())

    show_again_and_again(read, "json", 0.01)
    assert len(capsys.readouterr().out.splitlines()) == 2
