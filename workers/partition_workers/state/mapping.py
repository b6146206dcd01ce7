"""The state of a partition, as its handler sees it.

A handler gets a mutable mapping from text to JSON values, and may change a list or a dict inside it without
telling anybody. To find out what changed at the speed of C, `State` *is* a dict, of those values that were touched
since the last cut: `state[key]` on a touched value runs no code of ours, an untouched one is fetched by
`__missing__`. A cut compares the JSON of the touched values with the JSON that is stored, and only differences
are written. The stored JSON is also the way back: forget what was touched, and the state is as it was.

A small state counts as touched altogether. Then every key is in the dict, and `get`, which most handlers call for
each record, can be that of dict: half the cost of a record that only counts. That it is small, or is not any more,
changes the class of the state; nothing else differs.

Known limit: a handler must not keep a value of the state beyond the call that fetched it; after the next cut
the state would not notice changes made to it.
"""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from partition_workers.errors import StateInvalid
from partition_workers.model import JSON

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_REQUIRED: Any = object()

#: Keys, and bytes of JSON, of a state that is held as a whole, because each cut makes JSON of all of it.
SMALL_KEYS, SMALL_BYTES = 32, 4096
#: What cannot change inside.
_SIMPLE = (str, int, float, bool, type(None))


class State(dict[str, Any]):
    """The state of one partition: a `MutableMapping[str, JSON]`: text, numbers, booleans, None, lists and dicts.

    It is used like a dict, and a list or dict inside it may be changed in place. It is stored with the offset, in
    one transaction, and is there as it was when the partition moves or its owner dies. Iterates stored keys first,
    then new ones.

    Reading raises KeyError as a dict does. Writing raises nothing; but a key that is not text, or a value that is
    not JSON, is the error StateInvalid of the record whose handler left it there, and more changes by one record
    than fit a transaction are StateTooLarge. Both go the way of an exception of the handler's.
    """

    __slots__ = ("_gone", "_stored")
    __hash__ = None

    def __init__(self, stored: Mapping[str, bytes] | None = None) -> None:
        super().__init__()
        self._stored: dict[str, bytes] = dict(stored or {})
        self._gone: set[str] = set()
        self.rollback()

    # --- what the worker does with it ----------------------------------------------------------------------

    def changes(self) -> dict[str, bytes | None]:
        """What differs from the last cut, as JSON (None: deleted).

        Raises StateInvalid when a key is not text or a value is not JSON.
        """
        changes: dict[str, bytes | None] = {}
        for key, value in dict.items(self):
            encoded = _to_json(key, value)
            if self._stored.get(key) != encoded:
                changes[key] = encoded
        return changes | {key: None for key in self._gone if not dict.__contains__(self, key)}

    def accept(self, changes: Mapping[str, bytes | None]) -> None:
        """Make a cut: these `changes` are stored from now on."""
        for key, change in changes.items():
            if change is None:
                del self._stored[key]
            else:
                self._stored[key] = change
        if type(self) is not Whole or not self._is_small():
            self.rollback()
            return
        self._gone.clear()
        for key, value in dict.items(self):
            if type(value) not in _SIMPLE:
                dict.__setitem__(self, key, json.loads(self._stored[key]))  # as it is read after a takeover

    def rollback(self) -> None:
        """Back to the last cut."""
        dict.clear(self)
        self._gone.clear()
        if self._is_small():
            dict.update(self, {key: json.loads(value) for key, value in self._stored.items()})
            self.__class__ = Whole
        else:
            self.__class__ = State

    def _is_small(self) -> bool:
        return len(self._stored) <= SMALL_KEYS and sum(map(len, self._stored.values())) <= SMALL_BYTES

    def touched(self) -> int:
        """How many keys the next cut may write, at the most."""
        return dict.__len__(self) + len(self._gone)

    def size(self) -> tuple[int, int]:
        """How many keys are stored, and how many characters of names and bytes of JSON. Takes some 20 ns for each."""
        return len(self._stored), sum(map(len, self._stored)) + sum(map(len, self._stored.values()))

    # --- what a handler does with it -------------------------------------------------------------------------

    def __missing__(self, key: str) -> JSON:
        if key in self._gone or key not in self._stored:
            raise KeyError(key)
        value: JSON = json.loads(self._stored[key])
        self[key] = value
        return value

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or (key in self._stored and key not in self._gone)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        dict.pop(self, key, None)
        if key in self._stored:
            self._gone.add(key)

    def __iter__(self) -> Iterator[str]:
        yield from [key for key in self._stored if key not in self._gone or dict.__contains__(self, key)]
        yield from [key for key in dict.keys(self) if key not in self._stored]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def __repr__(self) -> str:
        return f"State({dict(self.items())!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def pop(self, key: str, default: Any = _REQUIRED) -> Any:
        if key not in self:
            if default is _REQUIRED:
                raise KeyError(key)
            return default
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        for key in reversed(list(self)):
            return key, self.pop(key)
        raise KeyError("the state is empty")

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | dict(other)

    def __ror__(self, other: Any) -> Any:
        return dict(other) | self.copy()

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    # The views of collections.abc go through __iter__ and __getitem__; those of dict show touched keys only.

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        return KeysView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)


class Whole(State):
    """A state of which every key is in the dict."""

    __slots__ = ()
    __hash__ = None
    get = dict.get  # type: ignore[assignment]


def _to_json(key: object, value: object) -> bytes:
    if not isinstance(key, str):
        raise StateInvalid(f"state keys are text, and {key!r} is {type(key).__name__}: use str({key!r})")
    try:
        key.encode()
        _refuse_other_keys(value)
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise StateInvalid(
            f"state[{key!r}] is not JSON ({error}): store text, numbers, booleans, None, lists and dicts"
        ) from error


def _refuse_other_keys(value: object) -> None:
    """JSON would make text of a number that is a key, and the handler would look for the number in vain."""
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"its key {key!r} is {type(key).__name__}, not text")
            _refuse_other_keys(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _refuse_other_keys(each)
