"""The handler: how it is found, and what its author is told when it cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partition_workers import handler as handler_module
from partition_workers.errors import ExitCode, Misconfigured
from partition_workers.handler import Context, Handler, load
from partition_workers.model import Partition
from partition_workers.state.mapping import State
from tests.fakes.kafka import FakeRecord

P = Partition("events", 3)
CONTEXT = Context(P, 17, "here", lambda: None, lambda: False)
RECORD: Any = FakeRecord(P, 7)

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules and handlers that a test imports are forgotten after it."""
    monkeypatch.setattr(handler_module, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a file `mine.py` of the given text."""

    def make(text: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return path

    return make


def refusal(name: str) -> str:
    """What the author is told."""
    with pytest.raises(Misconfigured) as caught:
        load(name)
    assert caught.value.exit_code == ExitCode.MISCONFIGURED
    assert name in str(caught.value)
    return str(caught.value)


class TestLoaded:
    def test_a_function_in_a_module(self) -> None:
        """Named as package.module:attribute, it is called with the record and the state."""
        handler = load("partition_workers.samples:count")
        handler.open(CONTEXT)
        state = State()
        handler.handle_alone(RECORD, state)
        handler.close()
        assert (state.to_dict(), handler.batch) == ({"count": 1}, None)

    def test_a_function_in_a_file(self, write: Write) -> None:
        """Named as path/to/file.py:attribute."""
        handler = load(f"{write('def handle(record, state): state[0] = record.offset()')}:handle")
        handler.open(CONTEXT)
        assert handler.one is not None

    def test_a_file_by_a_relative_path_finds_its_neighbours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What lies beside the file can be imported by it."""
        (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 7")
        (tmp_path / "mine.py").write_text("from neighbour_of_mine import VALUE\ndef handle(record, state): ...")
        monkeypatch.chdir(tmp_path)
        assert load("mine.py:handle") is load("mine.py:handle")
        assert load("./mine.py:handle")

    def test_two_handlers_of_one_file_share_its_module(self, write: Write) -> None:
        """A file is imported once."""
        path = write("imported = []\ndef a(r, s): ...\ndef b(r, s): ...\nimported.append(1)")
        load(f"{path}:a")
        load(f"{path}:b")
        assert sys.modules["mine"].imported == [1]

    def test_a_class_is_made_opened_and_closed(self, write: Write) -> None:
        """It gets the context in open(), each record in handle(), and close() at the end."""
        path = write(
            "class Mine:\n"
            "    calls = []\n"
            "    def open(self, context): self.calls.append(context.token)\n"
            "    def handle(self, record, state): self.calls.append(record.offset())\n"
            "    def close(self): self.calls.append('closed')\n"
        )
        handler = load(f"{path}:Mine")
        handler.open(CONTEXT)
        handler.handle_alone(RECORD, State())
        handler.close()
        assert sys.modules["mine"].Mine.calls == [17, 7, "closed"]

    def test_a_class_without_open_and_close_will_do(self, write: Write) -> None:
        """Only handle() or handle_batch() is needed."""
        handler = load(f"{write('class Mine:' + chr(10) + '    def handle(self, record, state): ...')}:Mine")
        handler.open(CONTEXT)
        handler.handle_alone(RECORD, State())
        handler.close()

    def test_a_batch_class_gets_lists_also_of_one(self, write: Write) -> None:
        """handle_batch() wins over handle()."""
        path = write(
            "calls = []\n"
            "class Mine:\n"
            "    def handle(self, record, state): ...\n"
            "    def handle_batch(self, records, state): calls.append(records)\n"
        )
        handler = load(f"{path}:Mine")
        handler.open(CONTEXT)
        handler.handle_alone(RECORD, State())
        assert handler.one is None
        assert sys.modules["mine"].calls == [[RECORD]]

    def test_an_attribute_of_an_attribute(self, write: Write) -> None:
        """Dots after the colon go inwards."""
        assert load(f"{write('class A:' + chr(10) + '    def b(record, state): ...')}:A.b")

    @pytest.mark.parametrize(
        ("function", "gets"),
        [
            ("def handle(record, state, context): got.append(context)", True),
            ("def handle(record, state, context=None): got.append(context)", True),
            ("def handle(record, state, where, /): got.append(where)", True),
            ("handle = lambda r, s, c: got.append(c)", True),
            ("class Call:\n  def __call__(self, r, s, c): got.append(c)\nhandle = Call()", True),
            ("class Box:\n  def on(self, r, s, c): got.append(c)\nhandle = Box().on", True),
            ("from functools import partial\nhandle = partial(lambda n, r, s, c: got.append(c), 1)", True),
            ("def handle(record, state): got.append(None)", False),
            ("def handle(record, state, verbose=None): got.append(verbose)", False),
            ("def handle(record, state, *more): got.append(more or None)", False),
            ("def handle(record, state, *, context=None, **more): got.append(context)", False),
            ("from functools import partial\nhandle = partial(lambda r, s, c: got.append(c), c=None)", False),
        ],
    )
    def test_a_function_gets_the_context_if_it_has_a_place_for_it(
        self, write: Write, function: str, gets: bool
    ) -> None:
        """A third parameter that must be given, or that is called so."""
        handler = load(f"{write('got = []' + chr(10) + function)}:handle")
        handler.open(CONTEXT)
        handler.handle_alone(RECORD, State())
        assert sys.modules["mine"].got == [CONTEXT if gets else None]

    def test_a_function_that_does_not_say_what_it_takes_gets_what_all_get(self) -> None:
        """One that is written in C, say."""
        of_c: Any = max
        handler = Handler(of_c)
        handler.open(CONTEXT)
        assert handler.one is of_c

    def test_a_function_needs_no_closing(self) -> None:
        """close() of a plain function is nothing."""
        Handler(lambda record, state: None).close()


class TestRefused:
    @pytest.mark.parametrize("name", ["", "mine", "mine:", ":handle", "mine.py"])
    def test_a_name_without_both_parts_shows_how_to_write_one(self, name: str) -> None:
        """Both forms are shown."""
        assert "package.module:attribute or path/to/file.py:attribute" in refusal(name)

    def test_a_missing_module_is_named(self) -> None:
        """And where it was looked for."""
        assert "there is no module 'no_such_module'" in refusal("no_such_module:handle")

    def test_a_missing_module_of_a_package_is_named(self) -> None:
        """The part that is missing, not the whole."""
        assert "there is no module 'workers.no_such'" in refusal("workers.no_such:handle")

    def test_a_missing_file_is_named_in_full(self, tmp_path: Path) -> None:
        """A relative path may have been meant relative to somewhere else."""
        path = tmp_path / "none.py"
        assert f"there is no file {path}" in refusal(f"{path}:handle")

    def test_a_file_that_is_not_python_is_refused(self, tmp_path: Path) -> None:
        """A path with a slash must end in .py."""
        (tmp_path / "mine.txt").write_text("")
        assert "mine.txt is not a Python file" in refusal(f"{tmp_path}/mine.txt:handle")

    def test_a_missing_attribute_is_named_with_what_there_is(self, write: Write) -> None:
        """The right name is often among them."""
        text = refusal(f"{write('def handel(r, s): ...' + chr(10) + '_hidden = 1')}:handle")
        assert "has no 'handle' (it has: handel)" in text

    def test_a_syntax_error_is_told_with_its_line(self, write: Write) -> None:
        """File and line, as Python says it."""
        text = refusal(f"{write('x = 1' + chr(10) + 'def (')}:handle")
        assert "SyntaxError" in text
        assert "mine.py, line 2" in text

    def test_an_error_at_import_is_told_with_its_place(self, write: Write) -> None:
        """The last line that ran, wherever that was."""
        path = write("x = 1\n\nraise RuntimeError('no luck')")
        text = refusal(f"{path}:handle")
        assert "RuntimeError: no luck" in text
        assert f"({path}, line 3)" in text

    def test_an_exit_at_import_is_told_with_its_place(self, write: Write) -> None:
        """It ends nothing."""
        path = write("import sys\nsys.exit(3)")
        text = refusal(f"{path}:handle")
        assert "SystemExit: 3" in text
        assert f"({path}, line 2)" in text

    def test_an_import_inside_that_fails_names_the_module_that_is_missing(self, write: Write) -> None:
        """It is not the handler's own module that is missing, and its file and line are told."""
        path = write("x = 1\nimport no_such_library")
        text = refusal(f"{path}:handle")
        assert "No module named 'no_such_library'" in text
        assert "there is no module" not in text
        assert f"({path}, line 2)" in text

    def test_a_name_that_cannot_be_imported_inside_is_told(self, write: Write) -> None:
        """With the name and where it should have come from."""
        assert "cannot import name 'nothing' from 'json'" in refusal(f"{write('from json import nothing')}:handle")

    def test_what_cannot_be_called_is_refused_by_its_type(self, write: Write) -> None:
        """A handler is a function or a class."""
        assert "it is int, not a function or a class" in refusal(f"{write('handle = 1')}:handle")

    def test_a_class_without_a_method_to_call_is_refused(self, write: Write) -> None:
        """The message shows the two that it may have."""
        text = refusal(f"{write('class Mine: ...')}:Mine")
        assert "handle(record, state) or handle_batch(records, state)" in text

    def test_the_same_refusal_is_told_again_without_another_import(self, write: Write) -> None:
        """The fork server tries, and every worker is told."""
        path = write("import sys\nsys.path.append('imported')\nraise RuntimeError('once')")
        first = refusal(f"{path}:handle")
        assert refusal(f"{path}:handle") == first
        assert sys.path.count("imported") == 1

    def test_another_handler_of_a_file_that_failed_is_refused_for_the_same_reason(self, write: Write) -> None:
        """A module that was left half made is not taken for a whole one."""
        path = write("def a(r, s): ...\nraise RuntimeError('half made')")
        refusal(f"{path}:a")
        assert "half made" in refusal(f"{path}:b")
