"""The value of a `changes/<p>/<number>` key: what one commit changed of the state, where that was many keys.

The first line is a JSON object with the names, then comes a line for each of them with its JSON, in the same order;
an empty one where the key was deleted. It is read by `etcdctl get`, and in two steps of C by us: 0.1 us a key, where
a key of its own costs etcd 20.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from partition_workers.layout.document import Unreadable

#: Of state keys: their JSON, or None where a key was deleted.
Changes = dict[str, bytes | None]

#: Of a number in a key.
DIGITS = 20

_NEWLINE = b"\n"


def encode(changes: Mapping[str, bytes | None]) -> bytes:
    head = json.dumps({"v": 1, "keys": list(changes)}, ensure_ascii=False, separators=(",", ":"))
    return _NEWLINE.join((head.encode(), *(each or b"" for each in changes.values())))


def decode(value: bytes) -> Changes:
    """Raises ValueError for what `encode` cannot have made."""
    head, *values = value.split(_NEWLINE)
    document = json.loads(head)
    if not isinstance(document, dict) or document.get("v") != 1 or not isinstance(document.get("keys"), list):
        raise ValueError("no list of changed keys")
    if not set(map(type, document["keys"])) <= {str}:
        raise ValueError("the name of a changed key is no text")
    if len(document["keys"]) != len(values):
        raise ValueError(f"{len(document['keys'])} changed keys and {len(values)} values")
    return dict(zip(document["keys"], (each or None for each in values), strict=True))


def numbered(prefix: str, found: Mapping[str, bytes]) -> dict[int, Changes]:
    """The entries below `prefix`, by the rest of their keys, in key order. Raises Unreadable for one that is none."""
    entries: dict[int, Changes] = {}
    for name, value in found.items():
        try:
            if not (len(name) == DIGITS and name.isascii() and name.isdigit()):
                raise ValueError("its name is no number")
            entries[int(name)] = decode(value)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the key {prefix}{name} holds no changes of a state: {error}") from error
    return entries


def apply(state: dict[str, bytes], entries: Iterable[Mapping[str, bytes | None]]) -> dict[str, bytes]:
    """The state after these changes, oldest first. `state` itself is changed."""
    together: Changes = {}
    for each in entries:
        together.update(each)
    gone = [key for key, value in together.items() if value is None]
    state.update(together)  # type: ignore[arg-type]  # those without a value go at once
    for key in gone:
        del state[key]
    return state
