"""Secrets: they may live elsewhere wherever they are given, an empty one is refused, and none is shown."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from partition_supervisor.admin.settings import MASK, VARIABLE_PREFIX, read_pairs, read_properties
from partition_supervisor.cli import cli
from partition_supervisor.commands.secret_option import SecretOption
from partition_workers.errors import Misconfigured
from partition_workers.etcd.options import EtcdOptions
from tests.commands import config_of_run as made
from tests.reference import commands
from tests.unit.test_config import config

TOKEN, USER = f"{VARIABLE_PREFIX}HTTP_TOKEN", f"{VARIABLE_PREFIX}ETCD_USER"
PASSWORD = f"{VARIABLE_PREFIX}ETCD_PASSWORD"


def refusal(*arguments: str, env: dict[str, str | None] | None = None) -> str:
    """What is said; it has to be one line, with the code for it."""
    with mock.patch("partition_supervisor.commands.run.Termination"):  # it is for good, for the whole process
        done = CliRunner().invoke(cli, ["run", "app:handle", "-t", "events", *arguments], env=env or {})
    assert (done.exit_code, done.output.count("\n")) == (78, 1), done.output
    return done.output


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text("orders:s3cret\r\n")
    return f"file:{path}"


def settings(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("reference", ["file", "env:WHERE_IT_IS"])
def test_a_secret_may_live_elsewhere_wherever_it_is_given(secret: str, tmp_path: Path, reference: str) -> None:
    """As a flag, in its variable, in the file: what is meant is the same."""
    written = secret if reference == "file" else reference
    env: dict[str, str | None] = {"WHERE_IT_IS": "orders:s3cret"}
    file = settings(tmp_path, f'http-token = "{written}"\netcd-user = "{written}"\n')
    for found in (
        made("--http-token", written, "--etcd-user", written, env=env),
        made(env=env | {TOKEN: written, USER: written}),
        made("--config", file, env=env),
    ):
        assert found.http_token == "orders:s3cret"
        assert (found.etcd.user, found.etcd.password) == ("orders", "s3cret")


def test_the_password_of_etcd_may_live_elsewhere_and_etcdctls_is_taken_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    where = f"file:{tmp_path}/password"
    assert made("--etcd-user", "orders", env={PASSWORD: where}).etcd.password == "s3cret"
    etcdctls = made("--etcd-user", "orders", env={"ETCDCTL_PASSWORD": "env:for-etcdctl"})
    assert etcdctls.etcd.password == "env:for-etcdctl"
    both = made(env={"ETCDCTL_USER": "env:for-etcdctl"})
    assert (both.etcd.user, both.etcd.password) == ("env", "for-etcdctl")


def test_what_a_secret_holds_is_not_looked_up_again(tmp_path: Path) -> None:
    """One that begins so is a secret like any other."""
    (tmp_path / "token").write_text("env:NO_SUCH_VARIABLE")
    file = settings(tmp_path, f'http-token = "file:{tmp_path}/token"\n')
    assert made("--config", file).http_token == "env:NO_SUCH_VARIABLE"
    assert made("--http-token", f"file:{tmp_path}/token").http_token == "env:NO_SUCH_VARIABLE"


@pytest.mark.parametrize("option", ["--http-token", "--etcd-user"])
@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("file:/no/such/file", "/no/such/file cannot be read: No such file"),
        ("file:run/secrets/t", "from the root on"),
        ("env:NO_SUCH_VARIABLE", "no variable NO_SUCH_VARIABLE"),
        ("env:EMPTY", "env:EMPTY is empty"),
        ("file:EMPTY", "is empty"),
    ],
)
def test_a_secret_that_is_not_there_is_refused(tmp_path: Path, option: str, written: str, words: str) -> None:
    """Whatever it was to guard would be open otherwise. It is said where it was given."""
    if written == "file:EMPTY":
        (tmp_path / "empty").write_text("\n")
        written = f"file:{tmp_path}/empty"
    env: dict[str, str | None] = {"EMPTY": ""}
    variable = VARIABLE_PREFIX + option.removeprefix("--").replace("-", "_").upper()
    for said, where in (
        (refusal(option, written, env=env), option),
        (refusal(env=env | {variable: written}), variable),
    ):
        assert words in said
        assert f"error: {where}" in said
    if written != "file:run/secrets/t":
        file = settings(tmp_path, f'{option.removeprefix("--")} = "{written}"\n')
        said = refusal("--config", file, env=env)
        assert words in said
        assert f"{file}: {option.removeprefix('--')}" in said


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--etcd-user", "orders:"], {}),
        (["--etcd-user", "orders"], {PASSWORD: ""}),
        (["--etcd-user", "orders"], {"ETCDCTL_PASSWORD": ""}),
        (["--etcd-user", "orders"], {PASSWORD: "env:EMPTY", "EMPTY": ""}),
    ],
)
def test_an_empty_password_of_etcd_is_refused(arguments: list[str], env: dict[str, str | None]) -> None:
    assert "empty" in refusal(*arguments, env=env)


def test_an_empty_file_with_etcds_password_is_refused_at_the_start_and_is_none_later(tmp_path: Path) -> None:
    """It may be that it is just being renewed."""
    path = tmp_path / "password"
    path.write_text("\n")
    assert f"{path} is empty" in refusal("--etcd-user", "orders", "--etcd-password-file", str(path))
    path.write_text("s3cret\n")
    options = EtcdOptions(("a:1",), user="orders", password_file=str(path))
    path.write_text("")
    assert options.secret() == ""


@pytest.mark.parametrize("written", ["sasl.password=", "ssl.key.password= ", "sasl.password=env:EMPTY"])
def test_an_empty_secret_of_kafka_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """As that of a shell whose variable is not set. Other properties may be empty."""
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(Misconfigured, match=r"password.* is empty"):
        read_pairs([written])
    path = tmp_path / "k.properties"
    path.write_text(written)
    with pytest.raises(Misconfigured, match=r"password.* is empty"):
        read_properties(path)
    key, _, value = written.partition("=")
    assert "is empty" in refusal("--config", settings(tmp_path, f'[kafka]\n{key} = "{value}"\n'))
    assert read_pairs(["client.rack="]) == {"client.rack": ""}


@pytest.mark.parametrize("token", ["", " ", "two\nlines", "\udcff"])
def test_a_token_that_no_request_can_show_guards_nothing(token: str) -> None:
    with pytest.raises(Misconfigured, match="--http-token"):
        config(http_token=token)


def shown(*arguments: str, env: dict[str, str | None]) -> Result:
    return CliRunner().invoke(cli, ["config", "show", "-o", "json", *arguments], env=env)


def test_where_a_secret_comes_from_is_shown_and_the_secret_is_not(secret: str, tmp_path: Path) -> None:
    file = settings(tmp_path, f'http-token = "{secret}"\n')
    for done, origin in (
        (shown("--http-token", secret, "--etcd-user", secret, env={}), "flag"),
        (shown(env={TOKEN: secret, USER: secret}), "environment"),
        (shown("--config", file, env={}), file),
    ):
        assert done.exit_code == 0, done.output
        assert "s3cret" not in done.output
        rows = {each["name"]: (each["value"], each["from"]) for each in json.loads(done.stdout)["settings"]}
        assert rows["http-token"] == (MASK, origin)
        if origin != file:
            assert rows["etcd-user"] == (f"orders:{MASK}", origin)


def test_every_option_whose_value_is_a_secret_is_of_that_kind() -> None:
    """By its name; what is in a file of its own is read from there."""
    for name, command in commands().items():
        for each in command.params:
            named = {"http_token", "etcd_user"} & {each.name}
            suspect = any(word in str(each.name) for word in ("token", "password", "secret"))
            if named or (suspect and each.name != "etcd_password_file"):
                assert isinstance(each, SecretOption), (name, each.name)
