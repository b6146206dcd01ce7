"""The marks of the timeline are set on functions that are there. The module cannot be imported: it sets them."""

from __future__ import annotations

import ast
import importlib
from operator import attrgetter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "benchmarks/marking.py"


def steps() -> list[tuple[str, str]]:
    """Module and name of each marked function."""
    found = [
        ast.literal_eval(node.value)
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").startswith("_IN_")
    ]
    return [(module, name) for each in found for module, name, *_ in each]


@pytest.mark.parametrize(("module", "name"), steps())
def test_every_marked_function_is_there(module: str, name: str) -> None:
    assert callable(attrgetter(name)(importlib.import_module(module)))


def test_both_sides_are_marked() -> None:
    assert {module.partition(".")[0] for module, _ in steps()} == {"partition_workers", "partition_supervisor"}
