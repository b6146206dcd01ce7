"""README and docs/ followed literally: each command line that can be run here is run, in the order of the pages."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from partition_supervisor.cli import cli
from partition_supervisor.dev.services import Services
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from tests.commands import environment
from tests.documented import PAGES, Line, calls, lines
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(120)

#: What ends with something else than 0 here, and why.
ENDS_WITH = {
    "partition-supervisor offsets reset --topic events": 3,  # its partitions have owners: the topic was not made anew
    "partition-supervisor offsets forget 'events[3]'": 3,  # Kafka has it
}
#: What goes on until it is told to end.
LIVE = re.compile(r"partition-supervisor (run|status --watch|history --follow)")


class Reader:
    """Somebody who follows the pages, in a folder of their own, with addresses and a group in the environment."""

    def __init__(self, services: Services, folder: Path, cleanup: ExitStack) -> None:
        self.group = f"docs-{secrets.token_hex(4)}"
        self._env = {
            "PARTITION_SUPERVISOR_BOOTSTRAP_SERVERS": services.bootstrap_servers,
            "PARTITION_SUPERVISOR_ETCD_ENDPOINTS": services.etcd_endpoints,
            "PARTITION_SUPERVISOR_GROUP": self.group,
            "PARTITION_SUPERVISOR_REBALANCE_DELAY": "0.5",
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self._folder, self._cleanup = folder, cleanup
        self.store = Etcd(EtcdOptions(parse_endpoints(services.etcd_endpoints)))
        cleanup.callback(self.store.close)

    def follow(self, line: Line) -> None:
        if LIVE.match(line.text):
            self._start(line.text)
        elif line.text.startswith("etcdctl get "):
            self._look_up(line.text)
        elif line.text.startswith("partition-supervisor "):
            self._call(line.text)
        else:
            subprocess.run(["bash", "-c", line.text], check=True, cwd=self._folder, env=environment(self._env))

    def _call(self, text: str) -> None:
        """Up to a pipe; what it prints is for people."""
        for arguments in calls(text):
            done = CliRunner().invoke(cli, arguments, env=self._env, prog_name="partition-supervisor")
            due = next((code for begun, code in ENDS_WITH.items() if text.startswith(begun)), 0)
            assert done.exit_code == due, f"{text}: {done.exit_code}: {done.output} {done.exception!r}"

    def _start(self, text: str) -> None:
        """It says something before it is told to end: at once if it looks, else at the end of the test."""
        log = self._folder / f"{secrets.token_hex(4)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {text}"], stdout=file, stderr=subprocess.STDOUT, cwd=self._folder,
                env=environment(self._env),
            )  # fmt: skip
        self._cleanup.callback(end, process, text, log)

        def speaks() -> bool:
            if "history" in text and not log.stat().st_size:
                self._kill_an_owner()  # what the README has a person do now
            return log.stat().st_size > 0

        eventually(f"{text} says something", speaks, deadline=30)
        if " run " not in text:
            end(process, text, log)

    def _kill_an_owner(self) -> None:
        """Of a partition that has a standby; if there is one."""
        owners = [each["owner"] for each in self._partitions() if each["owner"] and each["standbys"]]
        if owners:
            with suppress(ProcessLookupError):
                os.kill(owners[0]["pid"], signal.SIGKILL)

    def _partitions(self) -> list[dict[str, Any]]:
        shown = CliRunner().invoke(cli, ["status", "-o", "json"], env=self._env)
        found: list[dict[str, Any]] = json.loads(shown.stdout)["partitions"]
        return found

    def _look_up(self, text: str) -> None:
        """The keys that etcdctl is asked for are there, in this group."""
        (key,) = re.findall(r"/partition-supervisor/partition-supervisor/\S*", text)
        root = f"/partition-supervisor/{self.group}/"
        found = self.store.list(root + key.removeprefix("/partition-supervisor/partition-supervisor/"))
        assert found.items, text

    def everything_runs(self) -> None:
        """Each of the four partitions has an owner that has committed, and a standby on the other host."""

        def ready() -> bool:
            found = self._partitions()
            return len(found) == 4 and all(each["owner"] and each["standbys"] and each["offset"] for each in found)

        eventually("all partitions run on both hosts", ready, deadline=60)


def end(process: subprocess.Popen[bytes], text: str, log: Path) -> None:
    """With Ctrl-C, as a person would. It ends in good order."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    assert process.returncode == 0, f"{text} ended with {process.returncode}: {log.read_text(errors='replace')}"


@pytest.fixture
def reader(services: Services, tmp_path: Path) -> Iterator[Reader]:
    (app,) = re.findall(r"`app.py`:\n\n```python\n(.*?)```", PAGES["README.md"], re.DOTALL)
    (tmp_path / "app.py").write_text(app)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as cleanup:
        patch.chdir(tmp_path)
        yield Reader(services, tmp_path, cleanup)


@pytest.mark.usefixtures("broker")  # `check` asks who the controller is
def test_the_pages_can_be_followed(reader: Reader) -> None:
    """What can be run here, in the order in which it stands there."""
    to_run = [line for line in lines() if line.not_run is None]
    hosts = 0
    for line in to_run:
        reader.follow(line)
        if " run " in line.text:
            hosts += 1
            if hosts == 2:
                reader.everything_runs()
    assert hosts == 2
    assert len(to_run) > 25
