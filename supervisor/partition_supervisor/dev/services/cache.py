"""What is downloaded or built once for each user and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from partition_supervisor.dev.services.part import Announce
from partition_supervisor.dev.services.processes import Processes
from partition_workers.errors import Misconfigured


def cached(name: str, make: Callable[[Path], None], about: str, processes: Processes, announce: Announce) -> Path:
    """The folder of that name in the cache, made now if it is not there yet.

    It appears complete or not at all, and of several processes that want it at once one makes it. Raises
    Misconfigured when the cache is no place of ours, as with another user's HOME.
    """
    done = cache_folder() / name
    try:
        if done.exists():
            return done
        done.parent.mkdir(parents=True, exist_ok=True)
        locked = done.with_name(f"{name}.lock").open("w")
    except OSError as error:
        raise Misconfigured(
            f"the cache {done.parent} cannot be used: {error.strerror}; name another folder with XDG_CACHE_HOME"
        ) from None
    with locked as lock:
        _acquire(lock.fileno(), lambda: announce(f"waiting for another process: {about}"), processes)
        if not done.exists():
            announce(f"{about} ...")
            started = time.monotonic()
            partial = done.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.rename(done)
            announce(f"{about}: done in {time.monotonic() - started:.0f} s")
    return done


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partition-supervisor"


def copy_file(name: str, to: Path) -> None:
    """Copy a file that comes with this package."""
    with as_file(files("partition_supervisor.dev.services") / "files" / name) as source:
        shutil.copyfile(source, to / name)


def read_file(name: str) -> str:
    return (files("partition_supervisor.dev.services") / "files" / name).read_text()


def _acquire(lock: int, on_wait: Callable[[], None], processes: Processes) -> None:
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                on_wait()
                told = True
            processes.running()  # raises when the owner stopped everything meanwhile
            time.sleep(0.2)
