"""`check` says of settings what `run` would: whatever ends `run` at its start is a finding, with its fix."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from partition_supervisor.cli import cli
from partition_workers.errors import Misconfigured
from tests.commands import config_of_run

NOBODY = "127.0.0.1:1"
Found = list[tuple[str, str, str, str]]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kafka that nobody waits for."""
    monkeypatch.setattr("partition_supervisor.commands.check.PATIENCE", 0.1)


def check(*arguments: str) -> tuple[int, Found]:
    done = CliRunner().invoke(cli, ["check", "-o", "json", "-b", NOBODY, "-e", NOBODY, *arguments])
    assert done.exit_code in (0, 3), done.output
    found = json.loads(done.stdout)["findings"]
    return done.exit_code, [(each["level"], each["name"], each["words"], each["fix"]) for each in found]


REFUSED = [
    (["-X", "group.id=x"], "use --group"),
    (["--etcd-timeout", "4"], "half of --lease-ttl"),
    (["--lease-ttl", "1"], "from 2 to 60"),
    (["--graceful-timeout", "inf"], "--graceful-timeout inf"),
    (["--connect-timeout", "-1"], "--connect-timeout -1"),
    (["--workers", "0"], "--workers 0"),
    (["--on-error", "dlq"], "--dlq-topic"),
    (["--host-id", "a/b"], "--host-id"),
    (["--group", "a/b"], "--group"),
    (["--http", "node"], "HOST:PORT"),
    (["--listen", "a:b"], "--listen a:b"),
    (["--etcd-endpoints", "a:b:c"], "a:b:c"),
    (["--etcd-user", "orders"], "password"),
    (["-X", "nonsense"], "KEY=VALUE"),
]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_what_run_would_refuse_is_a_finding(arguments: list[str], words: str) -> None:
    """In the words of `run`, and once; what can be looked at is looked at all the same."""
    with pytest.raises(Misconfigured) as refused:
        config_of_run("-b", NOBODY, "-e", NOBODY, *arguments)
    code, found = check(*arguments)
    assert code == 3
    (said,) = [each for each in found if each[1] == "settings"]
    assert said[0] == "not ok"
    assert words in said[2]
    assert said[2] == str(refused.value)
    assert "config show" in said[3]


@pytest.mark.usefixtures("silent")
def test_settings_that_run_takes_are_said_to_be_well() -> None:
    """Handler and topics may be left out."""
    for arguments in ([], ["-t", "events", "--on-error", "dlq", "--dlq-topic", "letters", "-X", "client.id=x"]):
        _, found = check(*arguments)
        assert [each[0] for each in found if each[1] == "settings"] == ["ok"]
        assert "etcd.reachable" in [each[1] for each in found]
        assert "kafka.properties" not in [each[1] for each in found]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("pair", ["no.such.property=1", "fetch.wait.max.ms=soon", "fetch.max.bytes=1"])
def test_properties_that_the_client_refuses_are_a_finding(pair: str) -> None:
    """Also those that only a worker's consumer looks at."""
    code, found = check("-t", "events", "-X", pair)
    assert code == 3
    said = [each for each in found if each[1] == "kafka.properties"]
    assert [each[0] for each in said] == ["not ok"]
    assert pair.partition("=")[0] in said[0][2]
    assert said[0][3]
    assert "etcd.reachable" in [each[1] for each in found], "one fault hides no other"
