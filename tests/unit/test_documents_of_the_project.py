"""What the README and the pages of docs/ say is there, is there: commands, options, links, exit codes, keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from partition_supervisor.admin.group_view import GroupView, HostView, PartitionState, PartitionView, Worker
from partition_supervisor.cli import COMMANDS
from partition_supervisor.commands.run import run
from partition_workers.errors import ExitCode
from partition_workers.layout import documents
from partition_workers.layout.document import Document
from partition_workers.layout.foreign import ForeignKey
from partition_workers.model import Partition
from tests.documented import PAGES, ROOT
from tests.reference import commands

#: Options of etcd, etcdctl, etcdutl, docker, kubectl, systemctl and Kafka's tools that the pages name.
FOREIGN = {
    "--auto-compaction-mode", "--auto-compaction-retention", "--bump-revision", "--describe", "--endpoints",
    "--env-file", "--mark-compacted", "--now", "--prefix", "--quota-backend-bytes", "--raw", "--rev", "--since",
    "--unavailable-partitions", "--volumes",
}  # fmt: skip


def all_options() -> set[str]:
    found = {"-h", "--help", "--version"}
    for command in commands().values():
        found |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return found


def headings(text: str) -> set[str]:
    """The anchors of a page, as hosts of repositories make them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def json_values(text: str) -> Iterator[dict[str, object]]:
    for block in re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield json.loads(block)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_exists(page: str) -> None:
    """An option that is written anywhere is one of our commands' or a known one of etcd's."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", PAGES[page]))
    assert named - all_options() - FOREIGN == set()


def test_the_readme_lists_every_command() -> None:
    """The table of commands has all that the program has."""
    table = PAGES["README.md"].split("## Commands")[1].split("\n## ")[0]
    listed = set(re.findall(r"[a-z]+", " ".join(re.findall(r"`([^`]+)`", table))))
    assert set(COMMANDS) - listed == set()


def test_the_defaults_in_the_readme_are_those_of_run() -> None:
    """The table of options tells the defaults that `run` has."""
    table = PAGES["README.md"].split("## Options used most")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--[a-z-]+)`[^|]*\| `?([^|`]*?)`? \|", table, re.MULTILINE)
    assert len(rows) > 10
    by_name = {name: each for each in run.params for name in each.opts}
    for name, said in rows:
        default = by_name[name].default
        if re.fullmatch(r"[\d.]+", said):
            assert isinstance(default, int | float), name
            assert float(said) == float(default), name
        elif said and " " not in said:
            assert said == default, name


@pytest.mark.parametrize("page", PAGES)
def test_every_internal_link_leads_somewhere(page: str) -> None:
    """A link without a scheme points to a file of the project, and its anchor to a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.is_file(), target
        if anchor:
            assert anchor in headings(file.read_text(encoding="utf-8")), target


def test_the_table_of_exit_codes_is_complete() -> None:
    """The documented codes and names are those of ExitCode, no more and no fewer."""
    section = PAGES["docs/operations.md"].split("## Exit codes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", section, re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(int(each), each.name) for each in ExitCode]


def test_the_documented_values_in_etcd_are_what_the_program_reads() -> None:
    """Each example value decodes, has every field of its document, and is written back as it stands there."""
    text = PAGES["docs/etcd-layout.md"]
    kinds: dict[str, type[Document]] = {
        "locks/<p>": documents.Lock, "offsets/<p>": documents.StoredOffset,
        "standbys/<p>/<worker>": documents.Standby,
        "hosts/<host id>": documents.Host, "history/<p>/<token>": documents.History,
        "topics/<topic>": documents.FirstStart, "attempts/<p>": documents.Attempt,
        "prepared/<p>": documents.Prepared,
    }  # fmt: skip
    for heading, kind in kinds.items():
        block = text.split(f"### `{heading}`")[1].split("```json\n")[1].split("\n```")[0]
        assert kind.decode(block.encode()).encode().decode() == block
    orders: dict[str, type[Document]] = {
        "parked": documents.Parked, "moves": documents.Move, "drains": documents.Drain,
    }  # fmt: skip
    for key, kind in orders.items():
        found = re.search(rf"^\| `control/{key}/[^|]*\| `(.*?)` \|", text, re.MULTILINE)
        assert found is not None, key
        assert kind.decode(found[1].encode()).encode().decode() == found[1]


def test_the_documented_json_of_status_has_every_field() -> None:
    """The example in docs/status-json.md has the fields that `status` prints, in the same order."""
    worker = Worker("host-a", 1, "w")
    partition = PartitionView(
        Partition("events", 0), PartitionState.OWNED, owner=worker, standbys=(worker,), step=("4.17", "")
    )
    host = HostView("host-a", 1, 0, "0.1.0", "", False, outputs=("enriched",))
    real = GroupView((partition,), (host,), (ForeignKey("", ""),), ("",), ("",)).as_json()
    (example,) = json_values(PAGES["docs/status-json.md"])
    assert shape(example) == shape(real)


def shape(value: object) -> object:
    """Names and nesting, without values."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) else None


@pytest.mark.parametrize("page", PAGES)
def test_no_page_tells_of_the_machine_it_was_written_on(page: str) -> None:
    """Home folders and temporary folders have no business in a document."""
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", PAGES[page])
