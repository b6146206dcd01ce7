"""What the pages have from the code is what the code says now, and all of it."""

from __future__ import annotations

import re

import click
import pytest

from partition_supervisor.admin.settings import VARIABLE_PREFIX
from partition_supervisor.commands.settings import key_of
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token
from tests.reference import DOCS, PARTS, Row, commands, key_and_meaning, kinds, rows, written_anew

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_written_from_the_code_is_what_the_code_says(page: str) -> None:
    assert written_anew(PAGES[page]) == PAGES[page], f"docs/{page} is stale: make reference"


def test_every_part_has_its_place() -> None:
    """And each place a part."""
    placed = re.findall(r"<!-- from the code: ([a-z-]+) -->", "".join(PAGES.values()))
    assert set(placed) == set(PARTS)
    assert len(re.findall("<!-- /from the code -->", "".join(PAGES.values()))) == len(placed)


def test_a_stale_part_is_found_and_mended() -> None:
    stale = PAGES["reference.md"].replace("CONDITION_NOT_MET", "SOMETHING_ELSE")
    assert written_anew(stale) == PAGES["reference.md"]


@pytest.mark.parametrize("name", commands())
def test_every_option_says_what_it_is_for(name: str) -> None:
    """With a sentence; and its section says how the command may end."""
    for each in rows(commands()[name]):
        assert each.meaning.endswith("."), each.flags
        assert len(each.meaning.split()) > 1, each.flags
    section = PAGES["reference.md"].split(f"### `{name}`\n")[1].split("\n### ")[0]
    assert "Exit code" in section or name in ("services", "completion")


def test_an_option_has_a_key_if_and_only_if_it_has_a_variable() -> None:
    """So that one sentence tells where an option may be given; and the two have one name."""
    for command in commands().values():
        for each in rows(command):
            if each.flags.startswith("`-c`") or "--config" in each.flags:
                continue
            assert (each.key is None) == (not each.variables), each
            if each.key:
                assert each.variables[0] == VARIABLE_PREFIX + each.key.upper().replace("-", "_")


def test_options_of_several_commands_with_one_variable_mean_one_thing() -> None:
    """One file and one environment serve all commands: a number that is right for one must be for the others."""
    types: dict[str, set[str]] = {}
    for command in commands().values():
        for each in command.params:
            if isinstance(each, click.Option) and (key := key_of(each)):
                types.setdefault(key, set()).add(
                    f"{each.type.name.removesuffix(' range')}, {'many' if each.multiple else 'one'}"
                )
    assert {key: found for key, found in types.items() if len(found) > 1} == {
        "topic": {"text, many", "text, one"}  # `produce` writes to one
    }


def test_every_key_that_is_spelled_is_in_the_table() -> None:
    """Keys that the program spells, without those that are the beginnings of others."""
    keys, partition = Keys("/r"), Partition("events", 3)
    spelled = {
        keys.topic("events"), keys.lock(partition), keys.offset(partition), keys.prepared(partition),
        keys.size(partition), keys.attempt(partition), keys.standby(partition, "<worker>"),
        keys.history(partition, Token(17)), keys.host("<host>"), keys.parked(partition), keys.move(partition),
        keys.drain("<host>"),
    }  # fmt: skip
    shown = {key_and_meaning(kind)[0] for kind in kinds()}
    assert {each.split("/")[0] for each in shown} - {"control"} == {
        key.split("/")[2] for key in spelled if "/control/" not in key
    }
    assert {each.split("/")[1] for each in shown if each.startswith("control/")} == {
        key.split("/")[3] for key in spelled if "/control/" in key
    }


def test_a_default_is_shown_as_it_is() -> None:
    """Also one that is worked out at the start, and one that switches something on."""
    by_key: dict[str | None, Row] = {each.key: each for each in rows(commands()["run"])}
    assert by_key["lease-ttl"].default == "`5`"
    assert by_key["host-id"].default == "the host name"
    assert by_key["topic"].default == "(must be given)"
    assert by_key["mirror-offsets"].default == "yes"
    assert "`--no-mirror-offsets`" in by_key["mirror-offsets"].flags
    assert by_key["http-token"].default == ""
    assert by_key["etcd-endpoints"].variables == ("PARTITION_SUPERVISOR_ETCD_ENDPOINTS", "ETCDCTL_ENDPOINTS")
