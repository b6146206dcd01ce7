"""Arenas are counted where glibc puts them: each at the start of a piece of 64 MiB."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

#: Of glibc itself.
LIMIT = 8 * (os.cpu_count() or 1)
THREADS = LIMIT + 20

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas"),
    pytest.mark.skipif(LIMIT >= 64, reason="on so many processors glibc allows as many by itself"),
]

_COUNT = f"""
import threading
def hold():
    kept = bytes(5_000)
    here.wait()
    here.wait()
here = threading.Barrier({THREADS} + 1)
for _ in range({THREADS}):
    threading.Thread(target=hold, daemon=True).start()
here.wait()
starts = (int(line.split("-")[0], 16) for line in open("/proc/self/maps"))
print(sum(start % (64 << 20) == 0 for start in starts))
here.wait()
"""


def _arenas(before: str, **environment: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", f"{before}\n{_COUNT}"]
    return int(subprocess.run(command, env=inherited | environment, stdout=subprocess.PIPE, check=True).stdout)


def test_by_itself_glibc_lets_threads_share() -> None:
    assert _arenas("") <= LIMIT


def test_in_what_is_forked_from_the_fork_server_each_thread_has_its_own() -> None:
    assert _arenas("import partition_workers.preload") >= THREADS


def test_a_limit_in_the_environment_is_kept() -> None:
    assert _arenas("import partition_workers.preload", MALLOC_ARENA_MAX="4") <= 4
