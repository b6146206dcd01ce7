"""What all documents in etcd have in common: how they are written, read, and checked.

Anybody with a right to etcd can write anything there, so what is read is checked: each field has the type that its
class says, numbers are in their ranges. Readers ignore fields they do not know, so that two versions can share a
cluster while hosts are upgraded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from partition_workers.layout.field_checks import CHECKS, shortened

VERSION = 1


def _is_required(made: dataclasses.Field[Any]) -> bool:
    return made.default is dataclasses.MISSING and made.default_factory is dataclasses.MISSING


class Unreadable(ValueError):
    """Raised for a value that is no document of the kind that belongs there."""


@dataclass(frozen=True, slots=True)
class Document:
    def encode(self) -> bytes:
        fields = {"v": VERSION} | dataclasses.asdict(self)
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="backslashreplace")

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises Unreadable, a ValueError, for a value that is no document of this kind."""
        try:
            fields = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"no {cls.__name__} document: no JSON: {shortened(value)}") from error
        if not isinstance(fields, dict):
            raise Unreadable(f"no {cls.__name__} document: no JSON object: {shortened(value)}")
        version = fields.pop("v", VERSION)
        if type(version) is not int or version != VERSION:
            raise Unreadable(
                f"no {cls.__name__} document: written by another version of this program: v is {shortened(version)}"
            )
        checks = _checks_of(cls)
        known = {name: each for name, each in fields.items() if name in checks}
        for name, each in known.items():
            if not checks[name](each):
                raise Unreadable(f"no {cls.__name__} document: {name} cannot be {shortened(each)}")
        try:
            return cls(**known)
        except TypeError:
            missing = [f.name for f in dataclasses.fields(cls) if f.name not in known and _is_required(f)]
            raise Unreadable(f"no {cls.__name__} document: without {', '.join(missing)}") from None


def _check_of(made: dataclasses.Field[Any]) -> Callable[[object], bool]:
    check = CHECKS.get(made.name) or CHECKS[str(made.type)]
    return (lambda value: value == "" or check(value)) if made.default == "" else check


#: By the kind of document, how each of its fields is checked; filled at the first use.
_CHECKS_OF: dict[type[Document], Mapping[str, Callable[[object], bool]]] = {}


def _checks_of(kind: type[Document]) -> Mapping[str, Callable[[object], bool]]:
    if kind not in _CHECKS_OF:
        _CHECKS_OF[kind] = {each.name: _check_of(each) for each in dataclasses.fields(kind)}
    return _CHECKS_OF[kind]
