"""bench.json: every trial of each benchmark, with what surrounded it.

The file is written again after each benchmark, so that an interrupted run keeps what it had. A benchmark that is run
alone replaces its own part of the file; the report says which parts were measured when.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.surroundings import Surroundings
from tests.benchmarks.trials import Trial

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Part:
    """What one benchmark measured in one run."""

    benchmark: str
    quick: bool
    took: float
    """Seconds."""
    error: str
    """Why it did not come to its end; empty when it did."""
    load_before: float
    """Of the last minute, when it began: processes that ran or wanted to."""
    stolen: float
    """Percent of the processors' time that the hypervisor gave to others meanwhile."""
    surroundings: Surroundings
    trials: tuple[Trial, ...]


Results = dict[str, Part]
"""The parts by the names of their benchmarks, in the order in which they are shown."""


def all_trials(results: Results) -> list[Trial]:
    return [trial for part in results.values() for trial in part.trials]


def save(results: Results, path: Path) -> None:
    """Whole or not at all: a run that is killed leaves the file as it was."""
    content = {"v": _VERSION, "benchmarks": {name: asdict(part) for name, part in results.items()}}
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def load(path: Path) -> Results:
    """What `save` wrote. Raises OSError, or ValueError when it is no such file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("v") != _VERSION:
        raise ValueError(f"{path} was not written by this version of the benchmarks")
    return {name: _part(fields) for name, fields in content["benchmarks"].items()}


def _part(fields: dict[str, object]) -> Part:
    surroundings, trials = fields["surroundings"], fields["trials"]
    assert isinstance(surroundings, dict)
    assert isinstance(trials, Iterable)
    rest = {name: value for name, value in fields.items() if name not in ("surroundings", "trials")}
    return Part(**rest, surroundings=Surroundings(**surroundings), trials=tuple(Trial(**each) for each in trials))  # type: ignore[arg-type]
