"""Everything that was started ends with its owner, however the owner ends.

A process that is killed with SIGKILL cleans up nothing, so somebody else must. This file is that somebody: a
small process that starts the services as its own children, outlives its owner by a moment, and takes
everything along.

How it learns of the end. Its standard input is a pipe whose other end only the owner has; orders come through
it, one JSON object a line, and its end is the owner's end. A pipe alone could be fooled: a child forked by
the owner keeps a copy of the writing end without knowing it. Therefore the guard also watches the owner's
pidfd, which cannot be inherited, and the owner says "stop" instead of only closing the pipe.

Should the guard itself be killed, its children go too: each asks the kernel for SIGKILL at its parent's death
(PR_SET_PDEATHSIG). The kernel means the parent *thread*, which is why the owner, who may have many, does not
simply ask for the same: the guard has one thread, for ever. Each child leads a session of its own, so that what
it forks ends with it, and the guard leads another, so that neither a Ctrl-C meant for the owner nor the end of its
terminal reaches any of them.

What it cannot do: if guard and owner are killed in the same instant, the temporary folder stays behind.

It runs as a plain file and imports the standard library alone: it must start fast, stay small and not depend
on where the package is installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PATIENCE_S = 1.0
"""From TERM to KILL. The data is thrown away, so nobody needs a long good-bye."""

_libc = ctypes.CDLL(None)


class Guard:
    """The children of this process, by name, and what else has to go with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, tuple[list[str], dict[str, str], str]] = {}
        self.label = ""

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do one thing and tell how all processes are: name -> [pid, exit code or null]."""
        try:
            match order:
                case {"order": "start", "name": name, "argv": argv, "env": env, "cwd": cwd, "keep_log": keep_log}:
                    self.commands[name] = argv, env, cwd
                    self.start(name, mode="ab" if keep_log else "wb")
                case {"order": "restart", "name": name}:
                    self.end([self.children[name]], patience_s=0)
                    self.start(name, mode="ab")
                case {"order": "end", "names": names}:
                    self.end([self.children.pop(name) for name in names if name in self.children])
                case {"order": "containers", "label": label, "env": env}:
                    self.label = label
                    os.environ.update(env)
        except OSError as error:
            return {"error": f"cannot {order['order']} {order.get('name', '')}: {error}"}
        return {"processes": {name: [child.pid, child.poll()] for name, child in self.children.items()}}

    def start(self, name: str, mode: str) -> None:
        argv, env, cwd = self.commands[name]
        guard = os.getpid()

        def end_with_the_guard() -> None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(1)

        with (self.folder / f"{name}.log").open(mode) as log:
            self.children[name] = subprocess.Popen(
                argv,
                env=env | {"TMPDIR": str(self.folder)},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_the_guard,
            )

    def end(self, children: Iterable[subprocess.Popen[bytes]], patience_s: float = PATIENCE_S) -> None:
        children = list(children)
        deadline = time.monotonic() + patience_s
        if patience_s:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
        for child in children:
            _kill_session(child.pid)
            child.wait()

    def clean_up(self, *, looks: int) -> None:
        self.end(self.children.values())
        if self.label:
            with contextlib.suppress(Exception):
                _remove_containers(self.label, looks)
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill_session(leader: int) -> None:
    """Everybody in it, in whatever process group; and again, until nobody is found who was forked meanwhile."""
    killed: set[int] = set()
    while (
        members := {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session(pid) == leader}
        - killed
    ):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= members


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _remove_containers(label: str, looks: int) -> None:
    """Remove what carries the label, also what Docker was just creating when its client vanished."""
    client = import_module("docker").from_env()  # the project's folder docker/ hides it from type checkers
    ours = {"label": label}
    for look in range(looks):
        time.sleep(look)
        for container in client.containers.list(all=True, filters=ours):
            with contextlib.suppress(Exception):
                container.remove(force=True, v=True)
    for network in client.networks.list(filters=ours):
        with contextlib.suppress(Exception):
            network.remove()


def orders(owner: int) -> Iterator[dict[str, Any]]:
    """What the owner asks for, until it has ended."""
    waiting = select.poll()
    waiting.register(sys.stdin.fileno(), select.POLLIN)
    with contextlib.suppress(OSError):
        waiting.register(os.pidfd_open(owner), select.POLLIN)
    unfinished = b""
    while os.getppid() == owner:
        if {fd for fd, _ in waiting.poll()} != {sys.stdin.fileno()}:
            return
        received = os.read(sys.stdin.fileno(), 65536)
        if not received:
            return
        *lines, unfinished = (unfinished + received).split(b"\n")
        yield from map(json.loads, lines)


def main(owner: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="partition-supervisor-"))
    guard, looks = Guard(folder), 2
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        with (folder / "guard.log").open("wb") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())
        print(json.dumps({"folder": str(folder)}), flush=True)
        for order in orders(owner):
            if order["order"] == "stop":
                looks = 1
                break
            print(json.dumps(guard.obey(order)), flush=True)
    except BrokenPipeError:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guard.clean_up(looks=looks)
        os._exit(0)  # an interpreter that ends flushes standard output, which may be a broken pipe


if __name__ == "__main__":
    main(owner=int(sys.argv[1]))
