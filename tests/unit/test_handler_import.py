"""Which module a handler's name means, whatever is beside it and whatever has the same name."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import queue
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import partition_workers
from partition_workers import handler as handler_module
from partition_workers.errors import Misconfigured
from partition_workers.handler import load
from partition_workers.handler_import import import_handler_module
from tests.commands import COMMAND

HANDLE = "def handle(record, state): ...\n"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The current folder is empty; what a test imports, and where from, is forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(handler_module, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    assert {name for name, module in before.items() if sys.modules[name] is not module} == set(), "replaced"


def write(files: dict[str, str], folder: Path | None = None) -> None:
    """Python files of a folder, here if none is given, with the folders that they need."""
    for name, text in files.items():
        path = (folder or Path()) / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where distributions are installed: last in sys.path."""
    folder = tmp_path_factory.mktemp("installed")
    sys.path.append(str(folder))
    return folder


#: Projects, and every name that is a handler of theirs.
FORMS = [
    ({"app": HANDLE}, ["app:handle", "app.py:handle", "./app.py:handle", "{cwd}/app.py:handle"]),
    ({"workers/orders": HANDLE}, ["workers.orders:handle", "workers/orders.py:handle"]),
    ({"workers/__init__": "", "workers/orders": HANDLE}, ["workers.orders:handle", "workers/orders.py:handle"]),
    ({"supervisor/__init__": HANDLE}, ["supervisor:handle", "supervisor/__init__.py:handle"]),
    (
        {
            "a/__init__": "",
            "a/b/__init__": "N = 1",
            "a/b/c": "from . import N\nfrom ..d import M\n" + HANDLE,
            "a/d": "M = 2",
        },
        ["a.b.c:handle", "a/b/c.py:handle", "a/b/../b/c.py:handle"],
    ),
    ({"a/__init__": "", "a/b": "from a.c import N\nimport c\n" + HANDLE, "a/c": "N = 1"}, ["a/b.py:handle"]),
    ({"app": "from queue_of_mine import N\n" + HANDLE, "queue_of_mine": "N = 1"}, ["app:handle", "app.py:handle"]),
    ({"in/app": "import near, far\n" + HANDLE, "in/near": "", "far": ""}, ["in/app.py:handle"]),
    (
        {"app": "class Box:\n  class Inner:\n    @staticmethod\n    def handle(record, state): ..."},
        ["app:Box.Inner.handle"],
    ),
    ({"random": HANDLE}, ["random.py:handle", "./random.py:handle"]),
    (
        {"queue/__init__": "", "queue/app": "from .names import N\n" + HANDLE, "queue/names": "N = 1"},
        ["queue/app.py:handle"],
    ),
    ({"__main__": HANDLE}, ["__main__.py:handle"]),
    ({"sys": HANDLE, "time": HANDLE}, ["sys.py:handle", "time.py:handle"]),
    ({"grpc": HANDLE, "partition_workers": HANDLE}, ["grpc.py:handle", "partition_workers.py:handle"]),
    ({"two.dots": HANDLE, "my-app": HANDLE}, ["two.dots.py:handle", "my-app.py:handle"]),
    ({}, ["partition_workers.samples:count", "partition_workers.samples:word_count"]),
]


@pytest.mark.parametrize(
    ("files", "name"), [(files, name) for files, names in FORMS for name in names], ids=lambda value: str(value)[:60]
)
def test_every_form_of_a_name_finds_its_module(files: dict[str, str], name: str, tmp_path: Path) -> None:
    """And no module that was there before is another one afterwards."""
    write(files)

    handler = load(name.format(cwd=tmp_path))

    assert load(name.format(cwd=tmp_path)) is handler


@pytest.mark.parametrize("name", ["random", "logging", "queue", "types", "confluent_kafka", "unittest"])
def test_what_has_the_name_of_another_module_neither_replaces_it_nor_is_replaced(name: str) -> None:
    """Whether that is loaded or not, the standard library's, or installed."""
    write({name: f"import {name}\nMINE = __file__\nOTHER = {name}.__file__\n{HANDLE}"})

    module = import_handler_module("handler", f"{name}.py")

    assert str(Path(f"{name}.py").absolute()) == module.MINE != module.OTHER


def test_a_file_with_the_name_of_what_is_installed_can_import_that(installed: Path) -> None:
    """A handler about Redis is called redis.py before its author thinks of it."""
    write({"redis_of_test": "CLIENT = 1"}, installed)
    write({"redis_of_test": f"from redis_of_test import CLIENT\n{HANDLE}"})

    assert import_handler_module("handler", "redis_of_test.py").CLIENT == 1
    assert sys.modules["redis_of_test"].CLIENT == 1


def test_the_project_wins_over_what_is_installed(installed: Path) -> None:
    """As with `python app.py`: Supervisor from PyPI, or a `utils` that some distribution left behind."""
    write({"utils": "N = 0", "supervisor/__init__": "N = 0"}, installed)
    write({"utils": "N = 1", "supervisor/__init__": "N = 1", "app": f"import utils, supervisor\n{HANDLE}"})

    module = import_handler_module("handler", "app.py")

    assert (module.utils.N, module.supervisor.N) == (1, 1)


def test_the_standard_library_wins_over_the_project_for_whoever_asks_later() -> None:
    """What we, or a library, import for the first time in a worker is not the user's file."""
    write({"app": HANDLE})

    import_handler_module("handler", "app.py")

    here = [place for place, entry in enumerate(sys.path) if entry == str(Path.cwd())]
    standard = [place for place, entry in enumerate(sys.path) if entry == str(Path(queue.__file__).parent)]
    site = [place for place, entry in enumerate(sys.path) if entry.endswith("site-packages")]
    assert max(standard) < min(here) <= max(here) < min(site)


@pytest.mark.parametrize("before", [[""], ["{cwd}"], ["{cwd}", "{cwd}/"]])
def test_the_current_folder_is_moved_to_its_place(before: list[str], tmp_path: Path) -> None:
    """PYTHONPATH=. and `python -m` put it first."""
    sys.path[:0] = [each.format(cwd=tmp_path) for each in before]
    write({"app": HANDLE})

    import_handler_module("handler", "app")

    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[0] not in ("", str(tmp_path))


def test_a_neighbour_that_imports_the_handler_gets_the_same_module() -> None:
    """One module, one set of globals."""
    write({"app": f"import neighbour\nCOUNTS = []\n{HANDLE}", "neighbour": "import app"})

    module = import_handler_module("handler", "app.py")

    assert module.neighbour.app is module


def test_what_the_handler_added_to_the_path_holds_in_workers(tmp_path: Path) -> None:
    """multiprocessing sets it back in every worker; what is imported by a record must still be found."""
    write({"app": f"import sys\nsys.path.append('/opt/of-mine')\n{HANDLE}"})
    load("app.py:handle")

    sys.path[:] = [entry for entry in sys.path if entry not in ("/opt/of-mine", str(tmp_path))]
    load("app.py:handle")

    assert {"/opt/of-mine", str(tmp_path)} <= set(sys.path)


#: What the author is told when a name means another module than the one he has: what, where, what to do.
REFUSED = [
    (
        {"queue": HANDLE},
        "queue:handle",
        ["queue has no 'handle'", queue.__file__, "not {cwd}/queue.py", "another name"],
    ),
    ({"sys": HANDLE}, "sys:handle", ["sys has no 'handle'", "built into Python", "not {cwd}/sys.py"]),
    (
        {"queue/__init__": "", "queue/orders": HANDLE},
        "queue.orders:handle",
        ["no module 'queue.orders'", queue.__file__, "not {cwd}/queue", "its path"],
    ),
    (
        {"app": "from random import mine", "random": "mine = 1"},
        "app:handle",
        ["cannot import name 'mine'", random.__file__, "not {cwd}/random.py", "app.py, line 1"],
    ),
    (
        {"app": "import logging\nlogging.mine", "logging": "mine = 1"},
        "app.py:handle",
        ["AttributeError", "'mine'", logging.__file__, "not {cwd}/logging.py", "app.py, line 2"],
    ),
    ({"app": "import random.mine"}, "app:handle", ["No module named 'random.mine'", "app.py, line 1"]),
    ({}, "partition_workers.x:handle", ["no module 'partition_workers.x'", "a package of this program"]),
    ({}, "partition_supervisor.x.y:handle", ["no module 'partition_supervisor.x'", "a package of this program"]),
    (
        {"partition_workers/orders": HANDLE},
        "partition_workers.orders:handle",
        ["no module 'partition_workers.orders'", partition_workers.__file__ or "", "not {cwd}/partition_workers"],
    ),
    ({"app": "from . import near"}, "app.py:handle", ["no known parent package", "app.py, line 1"]),
]


@pytest.mark.parametrize(("files", "name", "words"), REFUSED, ids=[name for _, name, _ in REFUSED])
def test_a_name_that_means_another_module_is_told_as_such(
    files: dict[str, str], name: str, words: list[str], tmp_path: Path
) -> None:
    """In one line."""
    write(files)

    with pytest.raises(Misconfigured) as caught:
        load(name)

    for each in words:
        assert each.format(cwd=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


TRAP = "import os; os.write(2, f'imported by mistake: {__name__}\\n'.encode()); os._exit(9)"


def hostile() -> set[str]:
    """Every name under which something can be imported here: the standard library's, and what is installed."""
    return {
        name
        for name in {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
        if name.isidentifier()
    }


@pytest.mark.parametrize(
    "command",
    [
        (str(Path(sys.executable).parent / "partition-supervisor"),),
        (sys.executable, "-P", "-m", "partition_supervisor"),
    ],
    ids=["command", "module"],
)
@pytest.mark.parametrize("name", ["app.py", "app"])
def test_nothing_of_ours_takes_a_users_file_for_something_else(command: tuple[str, ...], name: str) -> None:
    """The supervisor, the fork server, multiprocessing's resource tracker and a worker, in a folder full of traps."""
    write(dict.fromkeys(hostile(), TRAP))
    write({"app": HANDLE})

    ended = subprocess.run([*command, "run", f"{name}:nothing", "-t", "events"], capture_output=True, text=True)

    assert ended.stderr == f"error: handler '{name}:nothing': {name} has no 'nothing' (it has: handle)\n"
    assert ended.returncode == 78


@pytest.mark.parametrize("environment", [{}, {"PYTHONPATH": "."}, {"PYTHONPATH": "/nowhere::{cwd}"}])
def test_python_is_told_to_look_into_the_current_folder_first(environment: dict[str, str], tmp_path: Path) -> None:
    """By `python -m` and by PYTHONPATH. The handler, and what it starts, has the environment that was given."""
    expected = {key: value.format(cwd=tmp_path) for key, value in environment.items()}
    shown = "{key: os.environ.get(key) for key in ('PYTHONPATH', 'PYTHONSAFEPATH')}"
    write(dict.fromkeys(["json", "logging", "multiprocessing", "queue", "random", "signal", "socket"], TRAP))
    write({"app": f"import os\nraise RuntimeError({shown})"})
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | expected

    ended = subprocess.run(
        [*COMMAND, "run", "app.py:handle", "-t", "events"], env=env, capture_output=True, text=True
    )

    wanted = {"PYTHONPATH": None, "PYTHONSAFEPATH": None} | expected
    assert f"error: handler 'app.py:handle' cannot be imported: RuntimeError: {wanted} (" in ended.stderr
    assert ended.returncode == 78


def test_a_current_folder_that_was_removed_is_told_as_such() -> None:
    """Nothing can be found there, and no process can be started in it."""
    command = [*COMMAND, "run", "partition_workers.samples:count", "-t", "events"]
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'

    ended = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (
        78,
        "error: the current folder was removed: go to one that is there\n",
    )
