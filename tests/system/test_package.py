"""What people get who have no checkout: an sdist, the wheel made from it, and the program installed from that alone.

Building and installing ask a package index, as setting up a checkout does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from partition_supervisor import __version__
from partition_supervisor.dev import services as services_module
from partition_supervisor.dev.services import Services
from tests.conftest import KIND
from tests.eventually import eventually
from tests.system.test_services import FIRST_START_S

ROOT = Path(__file__).parents[2]
#: Where each package is found, as in pyproject.toml.
PACKAGES = {"partition_supervisor": ROOT / "supervisor", "partition_workers": ROOT / "workers"}

pytestmark = pytest.mark.timeout(FIRST_START_S + 180)  # the demo may have to fetch Kafka and etcd first

#: What would lead to this checkout, or to settings that people do not have.
FOREIGN = ("PYTHON", "VIRTUAL_ENV", "PARTITION_SUPERVISOR_", "ETCDCTL_")


@dataclass(frozen=True)
class Built:
    """An sdist, and the wheel that was made from it."""

    sdist: Path
    wheel: Path

    def in_sdist(self) -> set[str]:
        """Paths below the sdist's one folder."""
        with tarfile.open(self.sdist) as archive:
            return {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}

    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def described(self, name: str) -> str:
        """A file of the wheel's folder of metadata."""
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.read(f"partition_supervisor-{__version__}.dist-info/{name}").decode()

    def metadata(self) -> Message:
        return Parser().parsestr(self.described("METADATA"))


def run(what: str, *command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a command prints. When it fails: `what` it was for, and its last lines."""
    ended = subprocess.run(
        command, cwd=cwd, env=environment() | (env or {}), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        lines = f"{ended.stdout}\n{ended.stderr}".strip().splitlines()[-40:]
        pytest.fail(f"{what}: {' '.join(map(str, command))} ended with {ended.returncode}:\n" + "\n".join(lines))
    return ended.stdout


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Made from a copy, because setuptools leaves things behind; with what Python left beside the modules."""
    folder = tmp_path_factory.mktemp("package")
    copy, made = folder / "copy", folder / "made"
    leftovers = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=leftovers)
    run("cannot build (it needs a package index)", sys.executable, "-m", "build", "--outdir", made, copy, cwd=folder)
    (sdist,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def bin_folder(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment where the wheel is installed, what it asks for, and Supervisor, a program of like name."""
    folder = tmp_path_factory.mktemp("installed")
    run("cannot make an environment", sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    binaries = folder / "venv" / "bin"
    extras = "embedded,docker" if KIND == "docker" else "embedded"
    pip = (sys.executable, "-m", "pip", "--python", binaries / "python", "--disable-pip-version-check")
    install = (*pip, "install", "--quiet", f"{built.wheel}[{extras}]", "supervisor>=4.3")
    run("cannot install the wheel (it needs a package index)", *install, cwd=folder)
    return binaries


def sources() -> set[str]:
    """Every file of our packages, those that are no modules too: type markers, and what services are made from."""
    return {
        path.relative_to(folder).as_posix()
        for package, folder in PACKAGES.items()
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_all_of_the_packages_and_nothing_else(built: Built) -> None:
    """No test, no document; every file that a package finds beside itself."""
    described = {name for name in built.in_wheel() if name.startswith("partition_supervisor-")}

    assert built.in_wheel() - described == sources()
    assert {f"{package}/py.typed" for package in PACKAGES} <= built.in_wheel()
    assert built.wheel.name == f"partition_supervisor-{__version__}-py3-none-any.whl"


def test_the_sdist_has_what_the_wheel_is_made_from(built: Built) -> None:
    """And what its readers look for first."""
    content = built.in_sdist()

    made_from = {f"{PACKAGES[name.partition('/')[0]].name}/{name}" for name in sources()}
    assert made_from | {"LICENSE", "README.md", "pyproject.toml"} <= content
    assert not {name for name in content if name.startswith("tests/")}


def test_the_metadata_says_what_it_is_and_how_it_is_called(built: Built) -> None:
    """What installers and indexes read."""
    metadata = built.metadata()

    assert (metadata["Name"], metadata["Version"]) == ("partition-supervisor", __version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"embedded", "docker", "ui", "postgres", "dev"}
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert built.described("licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    entry_points = built.described("entry_points.txt").split()
    assert entry_points == ["[console_scripts]", "partition-supervisor", "=", "partition_supervisor.__main__:main"]


def test_the_demo_passes_where_nothing_but_the_wheel_is(bin_folder: Path, tmp_path: Path) -> None:
    """In a folder that has nothing to do with this checkout, on the services that the tests are told to use."""
    where = "import sys, partition_supervisor as a, partition_workers as b; print(a.__file__, b.__file__, *sys.path)"
    found = run("cannot import", bin_folder / "python", "-c", where, cwd=tmp_path).split()
    assert all(path.startswith(str(bin_folder.parent)) for path in found[:2])
    assert not [path for path in found if path.startswith(str(ROOT))]

    kind = "auto" if KIND == "given" else KIND
    addresses = {
        name: os.environ[name]
        for name in (services_module.BOOTSTRAP_SERVERS, services_module.ETCD_ENDPOINTS)
        if name in os.environ
    }
    command = (bin_folder / "partition-supervisor", "demo", "--script", "--kind", kind)
    printed = run("the demo failed", *command, cwd=tmp_path, env=addresses)

    assert printed.endswith("\n0 lost, 0 doubled, 0 partitions out of order\n")
    assert list(tmp_path.iterdir()) == []


def test_supervisor_from_the_package_index_works_beside_it(bin_folder: Path, tmp_path: Path) -> None:
    """The two have no module in common."""
    assert run("supervisord", bin_folder / "supervisord", "--version", cwd=tmp_path).startswith("4.")
    assert __version__ in run("ours", bin_folder / "partition-supervisor", "--version", cwd=tmp_path)


ORDERS = """
import queue, types  # the standard library's
import supervisor
from partition_workers import Context, Record, State
from .prices import PRICE
assert queue.Queue and types.ModuleType and supervisor.MINE

def handle(record: Record, state: State, context: Context) -> None:
    import colorsys  # the standard library's, and at a record, in a worker
    from late_in_the_project import LATE
    state["total"] = state.get("total", 0) + PRICE + LATE
    with open("handled", "a") as file:
        file.write(f"{context.partition} {record.offset()}\\n")
"""
#: Ends whoever takes it for another module.
TRAP = "import os\nos.write(2, b'imported by mistake: ' + __name__.encode() + b'\\n')\nos._exit(9)\n"


def test_a_project_may_have_modules_of_any_name(
    bin_folder: Path, services: Services, topic: str, tmp_path: Path
) -> None:
    """Packages called `workers` and `supervisor`, and a file for every name that the standard library or ours has."""
    listed = "import importlib.metadata as m, sys; print(*sys.stdlib_module_names, *m.packages_distributions())"
    for name in run("cannot list", bin_folder / "python", "-c", listed, cwd=tmp_path).split():
        (tmp_path / f"{name}.py").write_text(TRAP)
    project = {
        "workers/__init__.py": "", "workers/orders.py": ORDERS, "workers/prices.py": "PRICE = 3",
        "late_in_the_project.py": "LATE = 4", "supervisor/__init__.py": "MINE = True",
    }  # fmt: skip
    for file, text in project.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    ours = bin_folder / "partition-supervisor"
    kafka = ("--topic", topic, "--bootstrap-servers", services.bootstrap_servers)
    run("produce", ours, "produce", *kafka, "--count", "20", "--round-robin", cwd=tmp_path)

    log, handled = tmp_path / "log", tmp_path / "handled"
    command = (
        ours,
        "run",
        "workers.orders:handle",
        *kafka,
        "--etcd-endpoints",
        services.etcd_endpoints,
        "--group",
        topic,
    )
    with log.open("w") as standard_error:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=standard_error)
    try:
        handled.touch()
        eventually("20 records are handled", lambda: len(set(handled.read_text().splitlines())) == 20, 30.0)
        process.terminate()
        assert process.wait(30) == 0
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.kill()
    assert "imported by mistake" not in log.read_text()


TYPED = """
from partition_workers import Context, Record, State


def handle(record: Record, state: State, context: Context) -> None:
    state["count"] = state.get("count", 0) + 1
    state["last"] = (record.value() or b"").decode()
    seen = state.setdefault("seen", [])
    seen.append(record.offset())
    context.logger.info("%s %d %d", context.partition.topic, context.partition.number, context.token)


class Totals:
    def open(self, context: Context) -> None:
        self.context = context

    def handle_batch(self, records: list[Record], state: State) -> None:
        for record in records:
            if self.context.stopping():
                self.context.heartbeat()
            state[str(record.partition())] = record.timestamp()[1]
"""
#: Lines that a type checker has to complain of.
WRONG = ("context.tokn", "record.valu()", "state[1]", "from partition_workers import Reocrd")


def test_a_users_file_passes_mypy(bin_folder: Path, tmp_path: Path) -> None:
    """With `--strict`, against what is installed; and what is wrong in it is found."""
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", bin_folder / "python")
    (tmp_path / "right.py").write_text(TYPED)
    wrong = "".join(f"    {line}\n" for line in WRONG)
    (tmp_path / "wrong.py").write_text(
        f"{TYPED}\n\ndef bad(record: Record, state: State, context: Context) -> None:\n{wrong}"
    )

    run("mypy", *mypy, "right.py", cwd=tmp_path)

    refused = subprocess.run([*mypy, "wrong.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert refused.stdout.strip().endswith(f"Found {len(WRONG)} errors in 1 file (checked 1 source file)"), (
        refused.stdout
    )
