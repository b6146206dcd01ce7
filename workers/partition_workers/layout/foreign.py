"""Keys below our root that none of us can have written: what is wrong with each, and the command that removes it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`why` it is none of ours, in words that follow the key."""

    key: str
    why: str

    @classmethod
    def because(cls, key: str, error: ValueError) -> ForeignKey:
        """Of what does not read as what belongs there."""
        return cls(key, f"is none of ours: {error}")

    @property
    def command(self) -> str:
        """What removes it, for a shell. A name that cannot be typed is written as bash reads it."""
        if self.key.isprintable():
            return f"etcdctl del {shlex.quote(self.key)}"
        raw = self.key.encode("utf-8", "surrogateescape")
        return "etcdctl del $'" + "".join(map(_typed, raw)) + "'"

    @property
    def shown(self) -> str:
        return self.key if self.key.isprintable() else repr(self.key)

    def __str__(self) -> str:
        return f"{self.shown} {self.why}. To remove it: {self.command}"


def _typed(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}"
