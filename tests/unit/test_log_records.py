"""A worker's log arrives, whatever is in it, and its reader ends when the worker does, however that is."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import unicodedata
from typing import Any

import pytest

from partition_supervisor.processes import log_receiver
from partition_supervisor.processes.log_receiver import FromWorker
from partition_workers import log_sender
from tests.eventually import eventually

LETTERS = "1\N{NO-BREAK SPACE}000 \N{GREEK SMALL LETTER ALPHA}"


class CannotBeRead(Exception):
    def __init__(self, _one: int, _two: int) -> None:
        super().__init__("pickled as if it had one argument")


@pytest.mark.parametrize("written", ["\x1b]0;x\x07", "\x9b31m", "\x7f", "\rover"])
def test_what_others_wrote_does_nothing_to_the_terminal_that_shows_the_log(written: str) -> None:
    """Lines of a traceback stay lines, and letters of any language what they are."""
    try:
        raise ValueError(f"of the key {written}\tor so\nand more: {LETTERS}")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "a reason: %s", (written,), sys.exc_info())
    text = log_receiver._Text().format(record)
    assert {each for each in text if unicodedata.category(each) == "Cc"} == {"\n", "\t"}
    assert LETTERS in text
    line = log_receiver._Json().format(record)
    assert line.replace("\N{NO-BREAK SPACE}", "").isprintable()
    assert json.loads(line)["message"] == f"a reason: {written}"


def _speak(queue: Any) -> None:
    log_sender.configure(queue, logging.INFO)
    logging.info("before")
    queue.put(CannotBeRead(1, 2))
    logging.info("after")
    queue.close()
    queue.join_thread()
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_log_of_a_worker_that_is_killed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "Queue", context.Queue)  # a supervisor makes another its default
    caplog.set_level(logging.INFO)
    received = FromWorker("logs of t[0]")
    worker = context.Process(target=_speak, args=(received.queue,))
    worker.start()
    received.leave_to_worker()
    worker.join(30.0)
    assert worker.exitcode == -signal.SIGKILL
    eventually("its reader has ended", lambda: not received._receive_thread.is_alive())
    assert [record.getMessage() for record in caplog.records] == [
        "before", "logs of t[0]: a record cannot be read", "after"
    ]  # fmt: skip
