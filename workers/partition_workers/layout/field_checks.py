"""Whether a field of a document can be what stands in it: by its annotation, or by its name where that says more."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping


def shortened(value: object) -> str:
    """For a message: what others wrote may be long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]}..."


#: Numbers beyond are in no key of ours: etcd's own have 63 bits.
_MOST = 2**63 - 1


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < _MOST  # type: ignore[arg-type]


def _is_lease(value: object) -> bool:
    """A lease as etcdctl shows it."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{1,16}", value) is not None and int(value, 16) <= _MOST


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


#: By the annotation, or by the name.
CHECKS: Mapping[str, Callable[[object], bool]] = {
    "int": _is_number,
    "int | None": _or_none(_is_number),
    "str": _is_text,
    "str | None": _or_none(_is_text),
    "bool": lambda value: type(value) is bool,
    "list[int]": lambda value: isinstance(value, list) and all(map(_is_number, value)),
    "list[str]": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "dict[str, str]": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "dict[str, int]": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "dict[str, float]": lambda value: isinstance(value, dict) and all(map(_is_finite, value.values())),
    "lease": _is_lease,
}
