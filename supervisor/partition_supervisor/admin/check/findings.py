"""One line of `check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from partition_workers.model import JSON


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    NOT_OK = "not ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """`name`: stable, as in `etcd.version`; `words`: how it is; `fix`: what to do, empty where nothing is."""

    level: Level
    name: str
    words: str
    fix: str = ""

    def as_json(self) -> dict[str, JSON]:
        return {"level": self.level.value, "name": self.name, "words": self.words, "fix": self.fix}


def ok(name: str, words: str) -> Finding:
    return Finding(Level.OK, name, words)


def warning(name: str, words: str, fix: str) -> Finding:
    return Finding(Level.WARNING, name, words, fix)


def not_ok(name: str, words: str, fix: str) -> Finding:
    return Finding(Level.NOT_OK, name, words, fix)
