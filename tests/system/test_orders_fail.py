"""Orders that are refused, and services that are silent: what a person is told."""

from __future__ import annotations

import pytest

from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import Parked, now
from tests.commands import cli, start_cli
from tests.system.console import NOWHERE, Console

pytestmark = pytest.mark.timeout(120)


# --- failing


def test_wrong_names_are_refused_with_the_right_ones(console: Console) -> None:
    unknown = f"{console.cluster.topic}[77]"
    first = str(console.partition(0))
    for words in (
        ("pause", unknown),
        ("resume", unknown),
        ("drain", "host-x"),
        ("drain", "host-x", "--undo"),
        ("move", unknown, "--to", "host-a"),
        ("move", first, "--to", "host-x"),
    ):
        ended = console(*words)
        assert ended.returncode == 78, (words, ended)
        assert ended.stderr.startswith("error: ")
        assert ("host-a, host-b" if "host-x" in words else first) in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    ended = console.offsets("reset", unknown, "--to-earliest")
    assert (ended.returncode, ended.stdout) == (78, "")
    assert unknown in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("pause", "events"),
        ("pause", "--wait", "events[3]"),
        ("pause", "--wait", "0"),
        ("move", "events[3]"),
        ("move", "events[3]", "--to", "host-a", "--anywhere"),
        ("drain",),
        ("drain", "host-a", "--undo", "--wait"),
        ("history", "--last", "0"),
        ("offsets", "reset", "events[3]"),
        ("offsets", "reset", "--to-latest"),
        ("offsets", "reset", "events[3]", "--to-latest", "--to-earliest"),
        ("offsets", "reset", "events[3]", "--to-datetime", "tomorrow"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(words: tuple[str, ...]) -> None:
    ended = cli(*words)
    assert ended.returncode == 2, ended
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "words",
    [("pause",), ("resume",), ("drain", "a"), ("move", "e[0]", "--to", "a"), ("history",), ("offsets", "show")],
)
def test_a_silent_etcd_is_named_with_the_option_to_look_at(words: tuple[str, ...]) -> None:
    ended = cli(*words, "-e", NOWHERE, "--timeout", "0.3")
    assert ended.returncode == 69
    assert ended.stderr.startswith(f"error: etcd does not answer at {NOWHERE}")
    assert len(ended.stderr.splitlines()) == 1


def test_a_silent_kafka_forbids_a_reset_but_not_the_view(quiet: Console) -> None:
    reset = quiet("offsets", "reset", "events[0]", "--to-latest", "-b", NOWHERE)
    assert reset.returncode == 69
    assert "--bootstrap-servers" in reset.stderr
    assert quiet("offsets", "show", "-b", NOWHERE).returncode == 0


def test_a_silent_kafka_keeps_nobody_from_resuming(quiet: Console) -> None:
    """Whoever owns the partition then will see whether its next record is there."""
    partition = quiet.partition(0)
    parked = Put(quiet.cluster.keys.parked(partition), Parked(3, "poison", "host-a", now()).encode())
    quiet.cluster.store.transact(Txn((), (parked,)))
    resumed = quiet("resume", str(partition), "-b", NOWHERE)
    assert resumed.returncode == 0
    assert "goes on at offset 3" in resumed.stdout
    assert "Whether the next records still exist is not known" in resumed.stderr


def test_help_shows_examples() -> None:
    for words in (
        ("history",), ("pause",), ("resume",), ("drain",), ("move",), ("offsets",), ("offsets", "show"),
        ("offsets", "reset"),
    ):  # fmt: skip
        with start_cli(*words, "--help") as helping:
            printed, _ = helping.communicate(timeout=30)
        assert f"$ partition-supervisor {words[0]}" in printed
