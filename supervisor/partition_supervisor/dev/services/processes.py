"""The processes behind the services, seen from their owner: started, waited for, restarted, ended."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from partition_supervisor.dev.services import guard
from partition_workers.errors import Unreachable

T = TypeVar("T")


class PortTaken(Unreachable):
    """Raised when somebody else took a port between our choice and its use."""


class Processes:
    """A guard (see guard.py) and what it was asked to start. May be used from several threads."""

    def __init__(self, ports: Mapping[str, Sequence[int]] | None = None) -> None:
        """`ports`: where kafka, and each member of etcd, shall listen if nobody else does."""
        self.ports = ports or {}
        self._lock = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-P", guard.__file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.folder = Path(self._heard()["folder"])
        except BrokenPipeError:
            raise Unreachable("cannot start the guard of the services; standard error says why") from None

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        *,
        keep_log: bool = False,
    ) -> int:
        """Its pid, and that of its session. `keep_log`: go on behind what one of that name has written."""
        env = dict(os.environ if env is None else env)
        found = self._order(
            "start", name=name, argv=list(argv), env=env, cwd=str(cwd or self.folder), keep_log=keep_log
        )
        return found[name][0]

    def restart(self, name: str) -> None:
        """Kill the process of that name, if it still runs, and start it again as it was."""
        self._order("restart", name=name)

    def end(self, *names: str) -> None:
        self._order("end", names=names)

    def take_along(self, label: str, env: Mapping[str, str]) -> None:
        """Remove also all containers and networks with this label when the owner ends."""
        self._order("containers", label=label, env=dict(env))

    def running(self) -> dict[str, int]:
        """The pid of every process that has not ended, by name."""
        return {name: pid for name, (pid, code) in self._order("look").items() if code is None}

    def exit_code(self, name: str) -> int | None:
        return self._order("look")[name][1]

    def wait_for(self, name: str, answers: Callable[[], bool], within_s: float = 60.0) -> None:
        """Return as soon as the process answers; say why when it ends instead, or stays silent."""
        deadline = time.monotonic() + within_s
        while not answers():
            if (code := self.exit_code(name)) is not None:
                last_lines = self.last_lines(name)
                why = PortTaken if "address already in use" in last_lines.lower() else Unreachable
                raise why(f"{name} ended {_ending(code)} while it started; its last lines:\n{last_lines}")
            if time.monotonic() > deadline:
                silent = f"{name} did not answer within {within_s:.0f} s; its last lines:\n"
                raise Unreachable(silent + self.last_lines(name))
            time.sleep(0.03)

    def run(self, name: str, argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Run a command to its end."""
        self.start(name, argv, env, cwd)
        while (code := self.exit_code(name)) is None:
            time.sleep(0.1)
        if code:
            raise Unreachable(f"{' '.join(argv)} ended {_ending(code)}; its last lines:\n{self.last_lines(name)}")
        self.end(name)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def last_lines(self, name: str, count: int = 12) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-count:]
        return "\n".join(f"    {line[:300]}" for line in lines) or "    (nothing was written)"

    def stop(self) -> None:
        """End everything and return when it is gone. Calling it again does nothing."""
        with self._lock:
            if self._guard.stdin and not self._guard.stdin.closed:
                try:
                    self._guard.stdin.write('{"order": "stop"}\n')
                    self._guard.stdin.close()
                except BrokenPipeError:
                    pass
                self._guard.wait()
                if self._guard.stdout:
                    self._guard.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _order(self, order: str, **details: Any) -> dict[str, tuple[int, int | None]]:
        with self._lock:
            pipe = self._guard.stdin
            try:
                if not pipe or pipe.closed:
                    raise BrokenPipeError
                pipe.write(json.dumps({"order": order, **details}) + "\n")
                pipe.flush()
                reply = self._heard()
            except BrokenPipeError:
                raise Unreachable("the services have been stopped") from None
        if "error" in reply:
            raise Unreachable(reply["error"])
        processes: dict[str, tuple[int, int | None]] = reply["processes"]
        return processes

    def _heard(self) -> dict[str, Any]:
        line = self._guard.stdout.readline() if self._guard.stdout else ""
        if not line:
            raise BrokenPipeError
        heard: dict[str, Any] = json.loads(line)
        return heard


def with_free_ports(count: int, attempt: Callable[[list[int]], T], tries: int = 4, first: Sequence[int] = ()) -> T:
    """Run the attempt with ports that are free now, and again with others when one was taken meanwhile. `first`: what
    the first ones should be, where these are free."""
    for _ in range(tries - 1):
        try:
            return attempt([port if is_free(port) else other for port, other in _pairs(first, free_ports(count))])
        except PortTaken:
            continue
    return attempt(free_ports(count))


def _pairs(first: Sequence[int], others: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip([*first, *others[len(first) :]], others, strict=False))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what is only ending is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Ports below the range from which the kernel serves outgoing connections.

    So a port stays free between our choice and its use, and while a server that had it is being restarted.
    """
    found: list[int] = []
    for port in random.sample(range(10_000, 30_000), 2_000):
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def _ending(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
