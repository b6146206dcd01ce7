"""The handler of all systems that are compared: it notes each record, and does the same work whoever calls it.

A note is 32 bytes in a file of the process's own, written by one system call: what was handled before a SIGKILL is
in the kernel's hands, and nothing of it is lost. Only the standard library is imported here, because rivals with
dependencies of their own run it too.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import MutableMapping
from typing import Any

#: Where each process makes its file.
FOLDER = "PARTITION_SUPERVISOR_PROBE"

#: Partition, pid, sequence, when it was produced and when it was handled (CLOCK_MONOTONIC, nanoseconds).
NOTE = struct.Struct("<IIQQQ")

#: How a record begins: its sequence in the partition, from 0, and when it was produced.
STAMP = struct.Struct("<QQ")

#: The topic to which `forward` sends its notes.
OUTPUT = os.environ.get("PARTITION_SUPERVISOR_OUTPUT", "")

_note, _stamp = NOTE.pack, STAMP.unpack_from
_file: int | None = None
_pid = 0


def handle(record: Any, state: MutableMapping[str, Any]) -> None:
    handled = time.monotonic_ns()
    sequence, produced = _stamp(record.value())
    os.write(_file or _open(), _note(record.partition(), _pid, sequence, produced, handled))
    expected = state.get("next", 0)
    if sequence > expected:
        state["lost"] = state.get("lost", 0) + sequence - expected
    elif sequence < expected:
        state["doubled"] = state.get("doubled", 0) + 1
    state["next"] = sequence + 1
    state["count"] = state.get("count", 0) + 1


def forward(record: Any, state: MutableMapping[str, Any], context: Any) -> None:
    """A handler of ours that also sends its note on: who reads that knows whose it is."""
    handle(record, state)
    context.produce(OUTPUT, note_of(record), partition=record.partition())


def note_of(record: Any) -> bytes:
    """What this process has just handled."""
    sequence, produced = _stamp(record.value())
    return _note(record.partition(), _pid, sequence, produced, time.monotonic_ns())


def _open() -> int:
    """At the first record, which is after all forks."""
    global _file, _pid
    _pid = os.getpid()
    _file = os.open(f"{os.environ[FOLDER]}/{_pid}.notes", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    return _file
