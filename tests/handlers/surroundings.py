"""Handlers that count like the demo's, and disturb the process around them: its logging, its children, its end.

FOLDER is the test's.
"""

from __future__ import annotations

import concurrent.futures
import logging
import logging.config
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from partition_supervisor.dev.demo.checking import check

FOLDER = Path(os.environ.get("FOLDER", "/nonexistent"))
KIND = os.environ.get("KIND", "")

log = logging.getLogger("mine")


def _configure_logging() -> None:
    logging.config.dictConfig({
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(FOLDER / "mine.log")}},
        "root": {"handlers": ["file"], "level": "WARNING"},
        "loggers": {"mine": {}},  # all others that exist are disabled by this, ours as well
    })  # fmt: skip


if KIND == "logging":
    _configure_logging()
if KIND == "printing":
    print("printed at the import")
if KIND == "stderr":
    sys.stderr = object()  # as some do, to catch what libraries print


def _number(record: Any) -> int:
    return int(record.value().split(b" ", 1)[0])


def logs(record: Any, state: Any) -> None:
    """Raises at one record; what it says itself is for its own file."""
    check(record, state)
    if record.partition() == 0 and _number(record) == 100:
        log.warning("mine: it will fail")
        raise ValueError("a bad record")


class LogsLater:
    """Configures logging when everything runs."""

    def open(self, context: Any) -> None:
        _configure_logging()

    def handle(self, record: Any, state: Any) -> None:
        logs(record, state)


def logs_every_record(record: Any, state: Any) -> None:
    check(record, state)
    for _ in range(100):
        log.warning("record %d of %s", record.offset(), record.topic())


def prints(record: Any, state: Any) -> None:
    check(record, state)
    if record.partition() == 0 and _number(record) == 100:
        print("printed by the handler")


class Children:
    """Starts one of each kind, writes down their pids, and looks after none of them."""

    def open(self, context: Any) -> None:
        if context.partition.number != 0:
            return
        sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
        self.kept = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
        forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
        forked.start()
        self.pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
        pooled = self.pool.submit(os.getpid).result()
        ignored = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True)
        (FOLDER / "ignored").write_text(ignored.stdout)
        pids = {"popen": self.kept[0].pid, "forked": forked.pid, "pooled": pooled, "daemon": self.kept[1].pid}
        (FOLDER / f"{os.getpid()}.children").write_text(repr(pids))

    def handle(self, record: Any, state: Any) -> None:
        check(record, state)


class Threads:
    """One that is no daemon, and sleeps."""

    def open(self, context: Any) -> None:
        threading.Thread(target=time.sleep, args=(3600,), name="mine-that-sleeps").start()

    def handle(self, record: Any, state: Any) -> None:
        check(record, state)


def never_lets_go(record: Any, state: Any) -> None:
    """At one record: the interpreter runs nothing else, and no signal handler, for longer than anybody lives."""
    check(record, state)
    if record.partition() == 0 and _number(record) == 100:
        (FOLDER / "stuck").write_text(str(os.getpid()))
        re.match(r"(a+)+$", "a" * 60 + "b")
