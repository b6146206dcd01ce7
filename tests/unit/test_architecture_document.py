"""What docs/architecture.md and docs/CONTRIBUTING.md name is there: files, and the classes and functions in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/architecture.md", "docs/CONTRIBUTING.md")
PLACES = (ROOT, ROOT / "supervisor/partition_supervisor", ROOT / "workers/partition_workers")


def named(page: str) -> list[tuple[str, str]]:
    """Each `path/to/file.py:Name.attribute` of the page, in its backticks; without a name, the file alone."""
    found = re.findall(r"`([\w/]+(?:\.\w+|/))(?::([\w.]+))?`", (ROOT / page).read_text(encoding="utf-8"))
    return [(path, name) for path, name in found if path.endswith((".py", ".md", ".cfg", "/"))]


def definitions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= definitions(node, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_every_function_that_a_page_names_is_there(page: str) -> None:
    missing = []
    for path, name in named(page):
        files = [place / path for place in PLACES if (place / path).exists()]
        if not files:
            missing.append(path)
        elif name and not any(name in definitions(ast.parse(file.read_text())) for file in files):
            missing.append(f"{path}:{name}")
    assert not missing
    assert len(named(page)) > 10


def test_every_room_of_the_supervisor_and_of_a_worker_is_on_the_map() -> None:
    """A folder that the map does not show is one that nobody finds."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for place in PLACES[1:] for path in place.glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in text} == set()
