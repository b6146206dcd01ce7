"""An etcd of one's own for tests that break it: with users and tokens, stopped, restored from a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from partition_supervisor.dev.services import local
from partition_supervisor.dev.services.etcd import flags
from partition_supervisor.dev.services.part import etcd_answers
from partition_supervisor.dev.services.processes import Processes, free_ports


class OwnEtcd:
    """One member at `address`. Its data lies in `folder`, so that it can be copied, and put back."""

    def __init__(self, folder: Path, *more_flags: str, scheme: str = "http") -> None:
        self._processes = Processes()
        self._binary = local._etcd_binary(self._processes, lambda _words: None)[0]
        client, peer = free_ports(2)
        self.address, self._peer = f"127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self.folder, self.more_flags = folder, more_flags
        self._lives, self._scheme = 0, scheme
        folder.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        client = f"{self._scheme}://{self.address}"
        self._lives += 1
        self._name = f"own-etcd-{self._lives}"
        listening = (f"--listen-client-urls={client}", f"--listen-peer-urls={self._peer}")
        command = [
            str(self._binary), *listening, f"--data-dir={self.folder / 'data'}",
            *flags("own", client, {"own": self._peer}), *self.more_flags,
        ]  # fmt: skip
        self._processes.start(self._name, command, {k: v for k, v in os.environ.items() if not k.startswith("ETCD")})
        if self._scheme == "http":
            self._processes.wait_for(self._name, partial(etcd_answers, self.address))

    def stop(self) -> None:
        self._processes.end(self._name)

    def copy(self, name: str) -> None:
        """Keep the data as it is now, while it runs: as good as its disk's at a power failure."""
        shutil.copytree(self.folder / "data", self.folder / name)

    def put_back(self, name: str) -> None:
        """It must be stopped. `name`: of a copy; none: it begins with nothing, as another cluster."""
        shutil.rmtree(self.folder / "data")
        if name:
            shutil.copytree(self.folder / name, self.folder / "data")

    def ctl(self, *arguments: str, user: str = "", types: str = "") -> str:
        """What `etcdctl` says when somebody types this."""
        who = (f"--user={user}",) if user else ()
        command = [self._binary.with_name("etcdctl"), f"--endpoints={self.address}", *who, *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, input=types
        ).stdout

    def close(self) -> None:
        self._processes.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
