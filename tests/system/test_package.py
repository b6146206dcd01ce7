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
from partition_supervisor.dev import services
from tests.conftest import KIND
from tests.system.test_services import FIRST_START_S

ROOT = Path(__file__).parents[2]
PACKAGES = ("partition_supervisor", "partition_workers")

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
    """Of an environment where nothing is installed but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    run("cannot make an environment", sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    binaries = folder / "venv" / "bin"
    extras = "embedded,docker" if KIND == "docker" else "embedded"
    pip = (sys.executable, "-m", "pip", "--python", binaries / "python", "--disable-pip-version-check")
    install = (*pip, "install", "--quiet", f"{built.wheel}[{extras}]")
    run("cannot install the wheel (it needs a package index)", *install, cwd=folder)
    return binaries


def sources() -> set[str]:
    """Every file of our packages, those that are no modules too: type markers, and what services are made from."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


def test_the_wheel_has_all_of_the_packages_and_nothing_else(built: Built) -> None:
    """No test, no document; every file that a package finds beside itself."""
    described = {name for name in built.in_wheel() if name.startswith("partition_supervisor-")}

    assert built.in_wheel() - described == sources()
    assert {f"{package}/py.typed" for package in PACKAGES} <= built.in_wheel()
    assert built.wheel.name == f"partition_supervisor-{__version__}-py3-none-any.whl"


def test_the_sdist_has_what_the_wheel_is_made_from(built: Built) -> None:
    """And what its readers look for first."""
    content = built.in_sdist()

    assert sources() | {"LICENSE", "README.md", "pyproject.toml"} <= content
    assert not {name for name in content if name.startswith("tests/")}


def test_the_metadata_says_what_it_is_and_how_it_is_called(built: Built) -> None:
    """What installers and indexes read."""
    metadata = built.metadata()

    assert (metadata["Name"], metadata["Version"]) == ("partition-supervisor", __version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"embedded", "docker", "dev"}
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert built.described("licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    entry_points = built.described("entry_points.txt").split()
    assert entry_points == ["[console_scripts]", "partition-supervisor", "=", "partition_supervisor.__main__:main"]


def test_the_demo_passes_where_nothing_but_the_wheel_is(bin_folder: Path, tmp_path: Path) -> None:
    """In a folder that has nothing to do with this checkout, on the services that the tests are told to use."""
    where = "import sys, supervisor, workers; print(supervisor.__file__, workers.__file__, *sys.path, sep='\\n')"
    found = run("cannot import", bin_folder / "python", "-c", where, cwd=tmp_path).splitlines()
    site_packages = [path for path in found if path.startswith(str(bin_folder.parent))]
    assert found[:2] == [path for path in site_packages if path.endswith("__init__.py")]
    assert str(ROOT) not in found

    kind = "auto" if KIND == "given" else KIND
    addresses = {
        name: os.environ[name] for name in (services.BOOTSTRAP_SERVERS, services.ETCD_ENDPOINTS) if name in os.environ
    }
    command = (bin_folder / "partition-supervisor", "demo", "--script", "--kind", kind)
    printed = run("the demo failed", *command, cwd=tmp_path, env=addresses)

    assert printed.endswith("\n0 lost, 0 doubled, 0 partitions out of order\n")
    assert list(tmp_path.iterdir()) == []
