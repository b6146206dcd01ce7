"""What commands print for programs: each form says the same, and nothing in it breaks the form."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor import commands
from partition_supervisor.cli import COMMANDS, cli
from partition_supervisor.commands.output import OUTPUTS, print_document, tsv
from partition_supervisor.commands.services import ports_from
from partition_supervisor.dev.services.processes import with_free_ports
from partition_workers.errors import Misconfigured

#: Those that show something.
SHOW = ("status", "topology", "history", "offsets show", "check", "config show")


def command(name: str) -> click.Command:
    context = click.Context(cli)
    found: click.Command | None = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.get_command(context, word)
    assert found is not None
    return found


@pytest.mark.parametrize("name", SHOW)
def test_every_command_that_shows_something_has_all_forms(name: str) -> None:
    (option,) = (each for each in command(name).params if "-o" in each.opts)
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == OUTPUTS


@pytest.mark.parametrize("name", [*SHOW, "run"])
def test_no_option_is_there_twice(name: str) -> None:
    """`--output` is a topic for `run`, and how the others print."""
    options = [option for each in command(name).params for option in (*each.opts, *each.secondary_opts)]
    assert len(options) == len(set(options))


def test_a_topic_to_produce_to_is_not_how_to_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file and in the environment that all commands share."""
    settings = tmp_path / "settings.toml"
    settings.write_text('output = ["results"]\n')
    monkeypatch.setenv("PARTITION_SUPERVISOR_OUTPUT", "results")
    made = command("status").make_context("status", ["--config", str(settings)], parent=click.Context(cli))
    assert made.params["output"] == "pretty"


#: A key of etcd need not be text, and a name may hold what steers a terminal.
ANYTHING = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["\x1b]0;x\x07", "\x9b31m", "\udcff", "\u202e"]
)


def does_nothing_to_a_terminal(text: str) -> bool:
    return all(each.isprintable() or each in "\n\t" for each in text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), VALUES))
def test_json_and_yaml_say_the_same(document: dict[str, object]) -> None:
    """Whatever hosts, topics and reasons are called."""

    def printed(output: str) -> str:
        @click.command()
        def show() -> None:
            print_document(document, output)

        return CliRunner().invoke(show).stdout

    assert json.loads(printed("json")) == document
    assert yaml.safe_load(printed("yaml")) == document


@given(st.dictionaries(ANYTHING, ANYTHING | st.lists(ANYTHING)))
def test_whatever_is_written_somewhere_documents_are_text(document: dict[str, object]) -> None:
    """JSON says it exactly. YAML tells in ASCII what no encoding has: it has no escape for that."""

    def printed(output: str) -> str:
        @click.command()
        def show() -> None:
            print_document(document, output)

        done = CliRunner().invoke(show, catch_exceptions=False)
        assert does_nothing_to_a_terminal(done.stdout)
        return done.stdout

    assert json.loads(printed("json")) == document
    yaml.safe_load(printed("yaml"))


def test_yaml_needs_no_anchors_where_one_list_comes_twice() -> None:
    topics = ["events", "orders"]

    @click.command()
    def show() -> None:
        print_document({"before": topics, "after": topics}, "yaml")

    assert CliRunner().invoke(show).stdout == ("---\nbefore:\n- events\n- orders\nafter:\n- events\n- orders\n")


@given(st.lists(st.lists(st.none() | ANYTHING | st.integers(), min_size=2, max_size=2)))
def test_no_cell_breaks_a_line_or_a_column(rows: list[list[object]]) -> None:
    lines = list(tsv(("a", "b"), rows))
    assert len(lines) == len(rows) + 1
    assert all(line.count("\t") == 1 and len(line.splitlines()) <= 1 for line in lines)
    assert all(map(does_nothing_to_a_terminal, lines))


def test_what_others_wrote_is_printed_in_one_way() -> None:
    """Commands that print what is in etcd or in Kafka use `say`, `complain` and what prints tables and documents."""
    others = {
        "check.py",
        "completion.py",
        "demo.py",
        "errors.py",
        "output.py",
        "produce.py",
        "services.py",
        "status.py",
    }
    folder = Path(commands.__file__).parent
    assert {path.name for path in folder.glob("*.py") if "click.echo(" in path.read_text(encoding="utf-8")} <= others


@pytest.mark.parametrize("half", [0xDCFF, 0xD800])
def test_what_utf8_cannot_write_is_escaped(half: int, capfd: pytest.CaptureFixture[str]) -> None:
    """An exception's text may hold it, and a key that is no text: no form breaks of it, wherever it stands."""
    document = {"partitions": [{"reason": f"bad {chr(half)}", f"host{chr(half)}": chr(half)}]}
    print_document(document, "json")
    assert json.loads(capfd.readouterr().out) == document
    print_document(document, "yaml")
    told = f"\\u{half:04x}"  # YAML has no escape for it
    assert yaml.safe_load(capfd.readouterr().out) == {"partitions": [{"reason": f"bad {told}", f"host{told}": told}]}
    assert list(tsv(("a",), [(chr(half),)]))[1] == "?"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    ended = CliRunner().invoke(cli, ["completion", shell], prog_name="partition-supervisor")
    assert ended.exit_code == 0
    assert "_PARTITION_SUPERVISOR_COMPLETE" in ended.stdout


def test_completion_knows_every_command() -> None:
    words = {
        "COMP_WORDS": "partition-supervisor ",
        "COMP_CWORD": "1",
        "_PARTITION_SUPERVISOR_COMPLETE": "bash_complete",
    }
    ended = CliRunner().invoke(cli, [], prog_name="partition-supervisor", env=words)
    assert {line.partition(",")[2] for line in ended.stdout.splitlines()} == set(COMMANDS)


# --- where services listen


def test_services_are_where_the_commands_look() -> None:
    ports = ports_from(None, 3)
    defaults = {each.name: each.default for each in command("run").params}
    assert defaults["bootstrap_servers"] == f"127.0.0.1:{ports['kafka'][0]}"
    assert defaults["etcd_endpoints"] == f"127.0.0.1:{ports['etcd'][0]}"
    assert ports_from(0, 3) == {}


def test_a_port_that_is_taken_is_given_up_unless_it_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = with_free_ports(3, list, first=(port,))
        assert len(found) == 3
        assert port not in found
        with pytest.raises(Misconfigured, match=f"--port-base {port}: somebody else has {port}"):
            ports_from(port, 1)
    assert with_free_ports(3, list, first=(port,))[0] == port
