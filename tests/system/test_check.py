"""`check` from outside, against real services: what it prints, and how it ends."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from partition_supervisor.dev.services import Services
from tests.commands import cli


def check(services: Services, *arguments: str) -> tuple[int, dict[str, str]]:
    options = ("-b", services.bootstrap_servers, "-e", services.etcd_endpoints, "-g", f"check-{secrets.token_hex(4)}")
    done = cli("check", "-o", "json", *options, *arguments)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, {each["name"]: each["level"] for each in json.loads(done.stdout)["findings"]}


@pytest.mark.usefixtures("broker")
def test_services_that_are_well_pass(services: Services, topic: str) -> None:
    """Everything that can be looked at is looked at, and nothing is wrong."""
    code, found = check(services, "partition_workers.samples:count", "-t", topic)
    assert code == 0
    names = {"handler", "kafka.reachable", "host.descriptors", "etcd.reachable", "etcd.write", "etcd.compaction"}
    assert names <= found.keys()


@pytest.mark.usefixtures("broker")
def test_faults_are_found_all_at_once(services: Services, topic: str, tmp_path: Path) -> None:
    """A topic that is not there and a handler that cannot be imported do not hide each other."""
    (tmp_path / "bad.py").write_text("import nosuch")
    code, found = check(services, f"{tmp_path}/bad.py:handle", "-t", topic, "-t", "no-such-topic")
    assert code == 3
    assert found["handler"] == "not ok"
    assert found["kafka.topic"] == "not ok"
    assert found["etcd.reachable"] == "ok"


def test_services_that_are_not_there_are_findings(services: Services) -> None:
    """With the fix, and without a traceback; one that answers is looked at all the same."""
    done = cli("check", "-b", "127.0.0.1:1", "-e", f"{services.etcd_endpoints},127.0.0.1:1")
    assert done.returncode == 3
    assert "not ok   kafka.reachable: 127.0.0.1:1" in done.stdout
    assert "--bootstrap-servers" in done.stdout
    assert "127.0.0.1:1" in done.stdout.split("etcd.reachable")[1]
    assert "Traceback" not in done.stdout + done.stderr
