"""Settings from files: what is read, what wins, and what is said of a mistake."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.admin.settings import (
    CONFIG_VARIABLE,
    MASK,
    find_file,
    masked,
    read_pairs,
    read_properties,
)
from partition_supervisor.cli import cli
from partition_supervisor.dev.demo.hosts import without_settings
from partition_supervisor.dev.services.cache import cached
from partition_workers.errors import Misconfigured
from partition_workers.handler_import import source_of


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, env=env or {}, catch_exceptions=False)


def shown(*arguments: str, env: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    done = invoke("config", "show", "-o", "json", *arguments, env=env)
    assert done.exit_code == 0, done.output
    return {row["name"]: (row["value"], row["from"]) for row in json.loads(done.stdout)["settings"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE)
    return tmp_path


def write(folder: Path, text: str, name: str = "partition-supervisor.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(errors="surrogatepass"))
    return path


def test_flag_then_environment_then_file_then_default(folder: Path) -> None:
    path = write(folder, "lease-ttl = 7\n")
    assert shown()["lease-ttl"] == ("7", str(path))
    environment = {"PARTITION_SUPERVISOR_LEASE_TTL": "8"}
    assert shown(env=environment)["lease-ttl"] == ("8", "environment")
    assert shown("--lease-ttl", "9", env=environment)["lease-ttl"] == ("9", "flag")
    path.unlink()
    assert shown()["lease-ttl"] == ("5", "default")


def test_no_file_is_read_where_none_is_wanted(folder: Path) -> None:
    """The demo's hosts, and tests, are nobody's group."""
    write(folder, "lease-ttl = 7\n")
    assert shown("--config", "/dev/null")["lease-ttl"] == ("5", "default")
    assert shown(env={CONFIG_VARIABLE: "/dev/null"})["lease-ttl"] == ("5", "default")


def test_hosts_of_the_demo_have_no_settings_of_another_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "lease-ttl = 7\n")
    foreign = "PARTITION_SUPERVISOR_ETCD_USER", "ETCDCTL_CACERT"
    for name in foreign:
        monkeypatch.setenv(name, "orders")
    monkeypatch.setenv("EDITOR", "vi")
    environment = without_settings()
    assert environment["EDITOR"] == "vi"
    for name in foreign:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert {origin for _, origin in shown().values()} == {"default"}


def test_the_first_file_that_is_there_is_read(folder: Path) -> None:
    """Named, in the folder, in the user's: in this order."""
    users = write(folder, "lease-ttl = 3", "home/.config/partition-supervisor/config.toml")
    assert shown()["lease-ttl"] == ("3", str(users))
    here = write(folder, "lease-ttl = 4")
    assert shown()["lease-ttl"] == ("4", str(here))
    named = write(folder, "lease-ttl = 6", "other.toml")
    assert shown("-c", str(named))["lease-ttl"] == ("6", str(named))
    assert shown(env={"PARTITION_SUPERVISOR_CONFIG": str(named)})["lease-ttl"] == ("6", str(named))


@pytest.fixture
def closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of another user: nothing can be looked at there. (Who runs the tests may be root, for whom none is.)"""
    home, stat = folder / "home", os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(home)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    return home


def test_what_may_not_be_looked_at_is_not_there(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME, or the current folder, of whoever became another user to start us."""
    assert shown()["lease-ttl"] == ("5", "default")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(closed / "config"))
    assert shown()["lease-ttl"] == ("5", "default")
    assert find_file(None, {"HOME": str(closed)}, closed) is None
    assert find_file(None, {"HOME": "/a\0b"}, closed) is None
    assert source_of(f"{closed}/app.py") is None
    monkeypatch.setattr(os, "getcwd", lambda: str(closed))
    assert source_of("json") is not None


@pytest.mark.parametrize("option", ["--config", "-F"])
def test_a_file_that_is_named_and_may_not_be_read_is_refused(closed: Path, option: str) -> None:
    """With its path: whoever named it meant it."""
    if option == "-F" and os.geteuid() == 0:
        closed.mkdir()  # root may open what is there
    done = invoke("config", "show", option, f"{closed}/named")
    assert done.exit_code == 78
    assert f"{closed}/named" in done.output
    assert "cannot be read" in done.output
    assert done.output.count("\n") == 1


@pytest.mark.usefixtures("closed")
def test_a_cache_that_is_another_users_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what can be done about it."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(Misconfigured, match=r"home/.cache/partition-supervisor cannot be used.*XDG_CACHE_HOME"):
        cached("it", lambda _: None, "making it", mock.Mock(), mock.Mock())


def test_a_file_serves_all_commands(folder: Path) -> None:
    """Each takes what is its own; one that takes a single topic is not troubled by two."""
    write(folder, 'handler = "app:handle"\ntopic = ["a", "b"]\nlease_ttl = 7\ngroup = "g"\ntimeout = 7\n')
    run = shown()
    assert (run["handler"][0], run["topic"][0], run["group"][0]) == ("app:handle", "a,b", "g")
    assert shown("--of", "status")["timeout"][0] == "7.0"
    assert shown("--of", "produce")["topic"][0] == "events"


@pytest.mark.parametrize("key", ["execute", "drop-state", "check", "watch", "undo", "to", "reason", "last"])
def test_what_is_said_of_one_call_is_no_setting(folder: Path, key: str) -> None:
    """A file must not make of each `offsets reset` one that is done."""
    write(folder, f"{key} = 1\n")
    done = invoke("status")
    assert done.exit_code == 78
    assert f"there is no setting {key!r}" in done.output


@pytest.mark.parametrize(
    ("written", "switched"), [("true", "True"), ("false", "False"), ("1", "True"), ("0", "False"), ("'no'", "False")]
)
def test_what_is_on_or_off(folder: Path, written: str, switched: str) -> None:
    write(folder, f"mirror-offsets = {written}\n")
    assert shown()["mirror-offsets"][0] == switched


def test_the_topics_that_are_processed_are_not_those_to_reset(folder: Path) -> None:
    """With them, one partition that is given would reset all of the file's."""
    write(folder, 'topic = ["events", "orders"]\n')
    group = cli.get_command(click.Context(cli), "offsets")
    assert isinstance(group, click.Group)
    made = group.commands["reset"].make_context("reset", ["events[3]", "--to-earliest"], parent=click.Context(cli))
    assert made.params["topics"] == ()


def test_the_page_is_not_where_the_metrics_are(folder: Path) -> None:
    """A file for a supervisor opens no port of its page; that has a setting of its own."""
    write(folder, 'http = "0.0.0.0:9464"\n')
    assert shown()["http"][0] == "0.0.0.0:9464"
    assert shown("--of", "ui")["http"] == ("127.0.0.1:8470", "default")
    write(folder, 'ui-http = "127.0.0.1:1"\n')
    assert shown("--of", "ui")["http"][0] == "127.0.0.1:1"


def test_check_knows_the_outputs_of_run(folder: Path) -> None:
    """Though its flag for them has another name."""
    write(folder, 'output = ["results"]\n')
    assert shown("--of", "check")["output-topic"][0] == "results"


def test_kafka_properties_of_file_properties_file_and_flags(folder: Path) -> None:
    """The later ones win; nested tables are names with dots; bootstrap.servers is the option."""
    write(
        folder,
        '[kafka]\nsecurity.protocol = "SSL"\nclient.id = "file"\nbootstrap.servers = "k:1"\n'
        "queued.min.messages = 7\n",
    )
    write(folder, "client.id=props\\\n  -more\nsasl.username : u\n", "k.properties")
    found = shown("-F", "k.properties", "-X", "sasl.username=x")
    assert found["bootstrap-servers"][0] == "k:1"
    assert found["kafka: security.protocol"][0] == "SSL"
    assert found["kafka: queued.min.messages"][0] == "7"
    assert found["kafka: client.id"] == ("props-more", "-F")
    assert found["kafka: sasl.username"][0] == "x"


def test_values_that_live_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "s3cret\n", "password")
    monkeypatch.setenv("WHO", "orders")
    pairs = read_pairs([f"sasl.password=file:{folder}/password", "sasl.username=env:WHO", "client.id=file-like"])
    assert pairs == {"sasl.password": "s3cret", "sasl.username": "orders", "client.id": "file-like"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("leasettl = 3", ["leasettl", "'lease-ttl'"]),
        ("lease-ttl = ", ["is not TOML"]),
        ("lease-ttl = 'x'", ["lease-ttl", "integer"]),
        ("lease-ttl = 5.5", ["lease-ttl", "5.5", "integer"]),
        ("lease-ttl = true", ["lease-ttl", "true", "integer"]),
        ("lease-ttl = 2030-01-01", ["lease-ttl", "2030-01-01", "integer"]),
        ("commit-interval = false", ["commit-interval", "false", "float"]),
        ("mirror-offsets = 7", ["mirror-offsets", "7", "boolean"]),
        ("mirror-offsets = 'perhaps'", ["mirror-offsets", "perhaps", "boolean"]),
        ("[lease-ttl]\na=1", ["must be a value"]),
        ("kafka = 3", ["[kafka]"]),
        ("[kafka]\na = [1]", ["a must be text"]),
        ("[kafka]\nsasl.password = 'env:NO_SUCH_VARIABLE'", ["sasl.password", "NO_SUCH_VARIABLE"]),
        ("[kafka]\nsasl.password = 'file:/no/such/file'", ["sasl.password", "/no/such/file"]),
        ("host-id = 'env:NO_SUCH_VARIABLE'", ["host-id", "NO_SUCH_VARIABLE"]),
    ],
)
def test_a_mistake_in_the_file_is_one_message(folder: Path, text: str, words: list[str]) -> None:
    """It names the file, the key and what to do, whichever command reads it."""
    path = write(folder, text)
    done = invoke("run", "app:handle", "-t", "events")
    assert done.exit_code in (2, 78)
    for word in words:
        assert word in done.output
    if done.exit_code == 78:
        assert str(path) in done.output
        assert done.output.count("\n") == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize("key", ["sasl.jaas.config", "ssl.truststore.location", "value.deserializer"])
def test_a_property_of_javas_client_alone_is_answered_with_ours(folder: Path, key: str) -> None:
    path = write(folder, f"{key}=x", "k.properties")
    with pytest.raises(Misconfigured, match=key):
        read_properties(path)


@pytest.mark.parametrize("written", ["half a password", "=value", "", "p4ssw0rd!"])
def test_a_pair_that_is_none_is_not_shown_whole(written: str) -> None:
    """What a shell tore apart may be half a password."""
    with pytest.raises(Misconfigured) as refused:
        read_pairs([written])
    assert "p4ss" not in str(refused.value)
    assert "half" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "http-token"]
)
def test_secrets_are_masked(name: str) -> None:
    assert masked(name, "x") == MASK
    assert masked(name, "") == ""


def test_of_a_user_with_a_password_the_user_is_shown() -> None:
    assert masked("etcd-user", "orders:s3cret") == f"orders:{MASK}"
    assert masked("etcd-user", "orders") == "orders"


def test_where_a_password_is_read_from_is_shown() -> None:
    assert masked("etcd-password-file", "/run/secrets/etcd") == "/run/secrets/etcd"


@given(st.text(), st.text())
def test_whatever_is_in_the_files_nothing_but_a_refusal_comes_of_it(text: str, properties: str) -> None:
    """Any text is settings or an error with a name."""
    with TemporaryDirectory() as folder:
        write(Path(folder), text, "c.toml")
        write(Path(folder), properties, "k.properties")
        done = CliRunner().invoke(cli, ["config", "show", "-c", f"{folder}/c.toml", "-F", f"{folder}/k.properties"])
        assert done.exit_code in (0, 2, 78), done.output
