"""What a worker logs reaches its supervisor, whatever its handler does to logging; and costs lines at the most."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partition_supervisor.processes import log_receiver
from partition_supervisor.processes.log_receiver import StandardError
from partition_workers import log_sender
from partition_workers.log_sender import MOST_WAITING, LogSender
from tests.eventually import eventually

ours = logging.getLogger("partition_workers.owner")
handlers = logging.getLogger("handler")
theirs = logging.getLogger("theirs")


class FakeQueue:
    """Nothing is taken out of it but by the test."""

    def __init__(self) -> None:
        self._buffer: deque[logging.LogRecord] = deque()

    def put_nowait(self, record: logging.LogRecord) -> None:
        self._buffer.append(record)

    def take(self) -> list[str]:
        taken = [each.getMessage() for each in self._buffer]
        self._buffer.clear()
        return taken


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Of the tests themselves."""
    root = logging.getLogger()
    handlers_before, level, known = list(root.handlers), root.level, set(logging.root.manager.loggerDict)
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    yield
    root.handlers[:] = handlers_before
    root.setLevel(level)
    for name in known:
        logging.getLogger(name).disabled = False


def worker(configure: Callable[[], None] = lambda: None) -> tuple[LogSender, FakeQueue]:
    """`configure`: what a handler does at its import."""
    logging.getLogger().handlers.clear()  # of those that pytest adds for each test
    logging.getLogger().setLevel(logging.WARNING)
    configure()
    theirs.disabled = False
    queue = FakeQueue()
    sender = LogSender(queue, logging.INFO)
    sender.install()
    return sender, queue


def by_dict_config(folder: Path) -> None:
    logging.config.dictConfig({
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(folder / "mine.log")}},
        "root": {"handlers": ["file"], "level": "WARNING"},
    })  # fmt: skip


def by_basic_config(folder: Path) -> None:
    logging.basicConfig(filename=str(folder / "mine.log"), level=logging.WARNING, force=True)


def by_hand(folder: Path) -> None:
    for each in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(each)
    logging.getLogger().addHandler(logging.FileHandler(folder / "mine.log"))
    logging.getLogger().setLevel(logging.WARNING)


CONFIGURE = pytest.mark.parametrize("configure", [by_dict_config, by_basic_config, by_hand])


@CONFIGURE
@pytest.mark.parametrize("later", [True, False])
def test_a_handler_that_configures_logging_silences_nobody_and_keeps_its_own(
    configure: Callable[[Path], None], later: bool, tmp_path: Path
) -> None:
    """At its import, before the sender is there, or at any time after it."""
    sender, queue = worker(lambda: None if later else configure(tmp_path))
    if later:
        configure(tmp_path)
        theirs.disabled = False
        sender.keep_installed()
    queue.take()
    ours.info("the offset")
    ours.error("parked")
    handlers.info("what the context's logger says")
    theirs.info("less than they want to see")
    theirs.warning("a warning of theirs")
    assert queue.take() == ["the offset", "parked", "what the context's logger says", "a warning of theirs"]
    text = (tmp_path / "mine.log").read_text()
    assert "parked" in text
    assert "a warning of theirs" in text
    assert "less than" not in text


def test_what_the_handler_shows_on_the_console_is_not_shown_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own lines in its own form; ours by the supervisor."""
    _, queue = worker(lambda: logging.basicConfig(stream=sys.stderr, format="MINE %(message)s", level=logging.INFO))
    ours.info("owner")
    theirs.info("a line")
    assert capsys.readouterr().err == "MINE a line\n"
    assert queue.take() == ["owner"]


def test_without_a_configuration_of_its_own_everything_goes_to_the_supervisor() -> None:
    """From the level on that it was given."""
    _, queue = worker()
    theirs.debug("details")
    theirs.info("a line")
    assert queue.take() == ["a line"]


def test_that_logging_was_configured_anew_is_said_once() -> None:
    """By whom is known."""
    sender, queue = worker()
    logging.getLogger().handlers.clear()
    for _ in range(3):
        sender.keep_installed()
    assert [each for each in queue.take() if "configured logging" in each] == [
        "the handler has configured logging anew; it goes on beside the supervisor's"
    ]


def test_what_cannot_be_sent_is_dropped_and_counted_but_never_ours() -> None:
    """The memory is bounded; what matters arrives."""
    sender, queue = worker()
    for number in range(3 * MOST_WAITING):
        theirs.warning("line %d", number)
    ours.error("parked")
    assert len(queue._buffer) == MOST_WAITING + 1
    assert sender.dropped == 2 * MOST_WAITING
    assert queue.take()[-1] == "parked"
    theirs.warning("there is room again")
    assert queue.take() == [
        f"{2 * MOST_WAITING} lines of the handler's log were dropped: it logs faster than they can be written",
        "there is room again",
    ]


def test_what_was_dropped_is_said_also_when_nothing_more_is_logged() -> None:
    """The record loop looks after it."""
    sender, queue = worker()
    for _ in range(MOST_WAITING + 5):
        theirs.warning("a line")
    queue.take()
    sender.keep_installed()
    assert [each.split(" ", 1)[0] for each in queue.take()] == ["5"]


def test_every_line_of_a_stream_that_can_be_set_so_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot is left alone."""
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", object())
    log_sender.show_lines_at_once()
    print("at once")
    assert os.read(read, 100) == b"at once\n"
    os.close(read)
    monkeypatch.undo()
    stream.close()


# --- the supervisor's end


def test_a_reader_of_standard_error_that_stops_costs_lines_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many is said as soon as it reads on."""
    read, write = os.pipe()
    monkeypatch.setattr(log_receiver, "STDERR", write)
    monkeypatch.setattr(log_receiver, "MOST_WAITING", 10)
    monkeypatch.setattr(log_receiver, "FLUSH_WITHIN", 0.05)
    handler = StandardError()
    filling = logging.makeLogRecord({"msg": "x" * 100_000})
    handler.emit(filling)  # more than a pipe holds
    eventually("its thread waits for the reader", lambda: handler._lines.qsize() == 0)
    for number in range(25):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.flush()
    text = ""
    while "line 9\n" not in text:
        text += os.read(read, 65536).decode()
    assert "15 lines of the log were dropped: standard error was not read fast enough" in text
    assert "line 10\n" not in text


def test_what_cannot_be_encoded_is_written_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of a file, say."""
    read, write = os.pipe()
    monkeypatch.setattr(log_receiver, "STDERR", write)
    handler: Any = StandardError()
    handler.emit(logging.makeLogRecord({"msg": "bad: \udcff"}))
    assert os.read(read, 100) == b"bad: \\udcff\n"
