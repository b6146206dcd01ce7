"""Whatever is wrong at the start: one message that says what to do, the documented exit code, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from partition_supervisor.dev.services import Services
from tests.commands import cli, start_cli

pytestmark = pytest.mark.timeout(90)

NOBODY = "127.0.0.1:1"


def run(services: Services, *arguments: str, handler: str = "partition_workers.samples:count") -> tuple[int, str]:
    options = ["--bootstrap-servers", services.bootstrap_servers, "--etcd-endpoints", services.etcd_endpoints]
    done = cli("run", handler, *options, "--connect-timeout", "2", *arguments)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("nosuch.module:handle", "there is no module 'nosuch'"),
        ("partition_workers.samples:nosuch", "has no 'nosuch'"),
        ("/nosuch/file.py:handle", "there is no file"),
        ("/etc/passwd:handle", "is not a Python file"),
        ("partition_workers.samples", "write package.module:attribute"),
        ("partition_workers.lifecycle:TRANSITIONS", "not a function or a class"),
    ],
)
def test_a_handler_that_is_not_there(services: Services, topic: str, handler: str, words: str) -> None:
    """It is named, with what was looked for."""
    code, message = run(services, "--topic", topic, handler=handler)

    assert code == 78
    assert words in message
    assert message.count("\n") == 1, "one message"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def handle(:", "SyntaxError"),
        ("import nosuch_package", "nosuch_package"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import os; os._exit(4)", "importing it ends the process"),
        ("1 / 0", "line 1"),
    ],
)
def test_a_handler_that_cannot_be_imported(
    services: Services, topic: str, tmp_path: Path, source: str, words: str
) -> None:
    """The author sees what is wrong with the file, once."""
    file = tmp_path / "broken.py"
    file.write_text(source)

    code, message = run(services, "--topic", topic, handler=f"{file}:handle")

    assert code == 78
    assert words in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "0"), "--workers 0"),
        (("--lease-ttl", "1"), "from 2 to 60"),
        (("-X", "enable.auto.commit=true"), "stored in etcd"),
        (("-X", "auto.offset.reset=latest"), "--start"),
        (("-X", "no.such.property=1"), "no.such.property"),
        (("-X", "nonsense"), "KEY=VALUE"),
        (("--on-error", "dlq"), "--dlq-topic"),
        (("--etcd-endpoints", "host:port:port"), "host:port:port"),
        (("--host-id", "a/b"), "a/b"),
    ],
)
def test_options_that_cannot_be(services: Services, topic: str, arguments: tuple[str, ...], words: str) -> None:
    """The option and its value are named, with the reason."""
    code, message = run(services, "--topic", topic, *arguments)

    assert code == 78
    assert words in message
    assert message.count("\n") == 1, message


def test_a_topic_that_is_not_there(services: Services) -> None:
    """It is named, with the command that creates it."""
    code, message = run(services, "--topic", "no-such-topic")

    assert code == 78
    assert "produce --topic no-such-topic --partitions" in message


@pytest.mark.parametrize("option", ["--bootstrap-servers", "--etcd-endpoints"])
def test_services_that_do_not_answer(services: Services, topic: str, option: str) -> None:
    """The address and the option are named."""
    code, message = run(services, "--topic", topic, option, NOBODY)

    assert code == 69
    assert NOBODY in message
    assert option in message
    assert message.strip().count("\n") == 0, message


def test_a_second_supervisor_with_the_same_host_id(services: Services, topic: str) -> None:
    """It waits for a predecessor's lease, then says who is there; the first is not disturbed."""
    options = ["--bootstrap-servers", services.bootstrap_servers, "--etcd-endpoints", services.etcd_endpoints]
    options += ["--topic", topic, "--group", topic, "--host-id", "twin", "--lease-ttl", "2"]
    with start_cli("run", "partition_workers.samples:count", *options) as first:
        assert first.stderr is not None
        while "owner" not in first.stderr.readline():
            pass

        second = cli("run", "partition_workers.samples:count", *options)

        assert second.returncode == 78
        assert "'twin' is taken" in second.stderr
        assert f"pid {first.pid}" in second.stderr
        assert first.poll() is None
        first.terminate()
