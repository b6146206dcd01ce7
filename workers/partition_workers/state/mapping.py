"""The state of a partition, as its handler sees it.

A handler gets a mutable mapping from text to JSON values, and may change a list or a dict inside it without telling
anybody. What the state is must not depend on when commits happen, so a value reads back in the next call as it will
read back after a takeover:

- When a call of the handler ends, every list and dict that it touched is made JSON and let go (`settle`). What cannot
  be JSON is an error of exactly this call. The next access reads a fresh value, which nobody else holds: a tuple is
  a list by then, a `Counter` a dict, two names for one list are two lists, and a reference that was kept is not the
  state's any more. That costs the JSON of what was touched, in each call.
- Text and numbers cannot change inside, and stay as they are. They cost one or two lookups in a dict.
- It is iterated in the order of keys, as etcd lists them; the order in which they came is forgotten by a takeover.

It is not a dict: C code would read a dict behind our back (`json.dumps(state)` was `{}`, orjson wrote what had been
touched). So they raise TypeError, and `to_dict()` is what to give them. A subclass of dict that intercepts
assignments was measured beside this: as fast, because the price is the call of `__setitem__`.

Reading changes nothing. `changes` is what differs from the last cut; `rollback` goes back to that.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from partition_workers.model import JSON
from partition_workers.state.dict_like import DictLike
from partition_workers.state.values import SCALARS, checked_key, from_json, to_json

#: No value of a state.
_ABSENT = object()


class State(DictLike):
    """The state of one partition: a `MutableMapping[str, JSON]`: text, numbers, booleans, None, lists and dicts.

    It is used like a dict, and a list or dict inside it may be changed in place. It is stored with the offset, in
    one transaction, and is there as it was when the partition moves or its owner dies. It is iterated in the order
    of its keys. `to_dict()` is what to give to `json.dumps`.

    What a call leaves in it is read back by the next as JSON reads it: a tuple as a list, a `Counter` as a dict; a
    list that was kept somewhere else is not the state's any more.

    Reading raises KeyError as a dict does. A key that is not text raises StateInvalid where it is written; a value
    that is not JSON is the error StateInvalid of the call that leaves it there, and more changes by one record than
    fit a transaction are StateTooLarge. All go the way of an exception of the handler's.
    """

    __slots__ = ("_changed", "_gone", "_long", "_new", "_stored", "full_at", "unsettled")

    def __init__(self, stored: dict[str, bytes] | None = None) -> None:
        """`stored`: the JSON of each key, which is taken over and not copied."""
        #: As of the last cut: text and numbers, or the JSON of anything.
        self._stored: dict[str, Any] = {} if stored is None else stored
        #: Since then: the same, and what the present call holds in its hands.
        self._changed: dict[str, Any] = {}
        self._gone: set[str] = set()
        self._new = 0  # of what has changed, how many keys are not stored
        self._long = 0  # bytes of long values that changed since the last cut, or more
        #: Keys to be looked at when the call of the handler ends. The record loop looks whether there are any.
        self.unsettled: dict[str, None] = {}
        #: So many changed keys, or bytes in long values, and it is time for a cut.
        self.full_at = (1_000_000, 1 << 40)

    # --- what the worker does with it ----------------------------------------------------------------------

    def settle(self) -> None:
        """A call of the handler has ended. Raises StateInvalid; then nothing but `rollback` helps."""
        changed = self._changed
        for key in list(self.unsettled):
            value = changed.get(key, _ABSENT)
            if value is _ABSENT or type(value) is str:
                continue
            encoded = to_json(key, value)
            if type(value) in SCALARS:
                continue
            if self._stored.get(key, _ABSENT) == encoded:
                del changed[key]
            else:
                changed[key] = encoded
                self._long += len(encoded)
        self.unsettled.clear()

    def is_full(self) -> bool:
        """Whether a cut should be made before the next record."""
        keys, size = self.full_at
        if self._long >= size:  # each time one and the same value was changed was counted
            values = self._changed.values()
            self._long = sum(len(value) for value in values if type(value) is str or type(value) is bytes)
        return self.touched() >= keys or self._long >= size

    def weight(self) -> tuple[int, int]:
        """How many keys the next cut may write, and how many bytes in long values, at the most."""
        return self.touched(), self._long

    def changes(self) -> dict[str, bytes | None]:
        """What differs from the last cut, as JSON (None: deleted). Everything must be settled."""
        changes: dict[str, bytes | None] = {}
        stored = self._stored
        for key, value in self._changed.items():
            before = stored.get(key, _ABSENT)
            if type(value) is int:
                if type(before) is int:
                    if before != value:
                        changes[key] = b"%d" % value
                elif (digits := b"%d" % value) != before:
                    changes[key] = digits
                continue
            encoded = value if type(value) is bytes else to_json(key, value)
            if before is _ABSENT or encoded != (before if type(before) is bytes else to_json(key, before)):
                changes[key] = encoded
        for key in self._gone:
            changes[key] = None
        return changes

    def accept(self) -> None:
        """Make a cut: what `changes` has just said is stored from now on."""
        self._stored.update(self._changed)
        for key in self._gone:
            del self._stored[key]
        self._forget_changes()

    def rollback(self) -> None:
        """Back to the last cut."""
        self._forget_changes()

    def replace(self, stored: dict[str, bytes]) -> None:
        """Forget everything, and be this."""
        self._stored = stored
        self._forget_changes()

    def touched(self) -> int:
        """How many keys the next cut may write, at the most."""
        return len(self._changed) + len(self._gone)

    def size(self) -> tuple[int, int]:
        """How many keys are stored, and characters of names and bytes of JSON in all. Takes some 100 ns for each."""
        values = (len(each) if type(each) is bytes else len(str(each)) for each in self._stored.values())
        return len(self._stored), sum(map(len, self._stored)) + sum(values)

    def _forget_changes(self) -> None:
        self._changed.clear()
        self._gone.clear()
        self.unsettled.clear()
        self._new = self._long = 0

    # --- what a handler does with it -------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        changed = self._changed
        if key in changed:
            value = changed[key]
        elif key in self._stored and key not in self._gone:
            value = self._stored[key]
        else:
            return default
        return value if type(value) is not bytes else self._read(key, value)

    def __getitem__(self, key: str) -> Any:
        changed = self._changed
        if key in changed:
            value = changed[key]
        elif key in self._stored and key not in self._gone:
            value = self._stored[key]
        else:
            raise KeyError(key)
        return value if type(value) is not bytes else self._read(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        # A number that has JSON which can be read back, whatever the limit for digits; 2**62, because the compiler
        # makes a constant of it.
        if type(value) is int and -(2**62) < value < 2**62:
            changed = self._changed
            if key not in changed:
                key = self._admit(key)
            changed[key] = value
        else:
            self._assign(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._changed.pop(key, None)
        if key in self._stored:
            self._gone.add(key)
        else:
            self._new -= 1
        self.unsettled[key] = None  # to be looked at, because it may be one too many

    def __contains__(self, key: object) -> bool:
        return key in self._changed or (key in self._stored and key not in self._gone)

    def _names(self) -> AbstractSet[str]:
        if not self._new and not self._gone:
            return self._stored.keys()
        return (self._stored.keys() | self._changed.keys()) - self._gone

    def __len__(self) -> int:
        return len(self._stored) + self._new - len(self._gone)

    def to_dict(self) -> dict[str, JSON]:
        """A plain dict with everything, for whoever wants one: `json.dumps(state.to_dict())`.

        It shares nothing with the state: changes to it, or in it, change only it.
        """
        return {key: self._fresh(key) for key in self}

    # --- off the fast path -------------------------------------------------------------------------------------

    def _assign(self, key: str, value: Any) -> None:
        """What is not simply a number."""
        kind = type(value)
        if kind is bytes or (kind is str and not value.isascii()):
            to_json(key, value)  # which raises, if it cannot be: and in here, bytes are JSON
        if key not in self._changed:
            key = self._admit(key)
        self._changed[key] = value
        if kind is str:
            self._long += len(value)
        if self._long >= self.full_at[1] or not (kind is str or kind is bool or value is None):
            self.unsettled[key] = None

    def _admit(self, key: str) -> str:
        """A key whose value has not changed since the last cut; returned as plain text."""
        if key not in self._stored:
            key = checked_key(key)
            self._new += 1
        elif key in self._gone:
            self._gone.remove(key)
        if len(self._changed) >= self.full_at[0]:
            self.unsettled[key] = None
        return key

    def _read(self, key: str, encoded: bytes) -> Any:
        """What was not read since it was made JSON. Lists and dicts are the caller's until its call ends."""
        value = from_json(key, encoded)
        if type(value) in SCALARS:
            (self._changed if key in self._changed else self._stored)[key] = value
        else:
            self._changed[key] = value
            self.unsettled[key] = None
        return value

    def _fresh(self, key: str) -> JSON:
        value = self._changed[key] if key in self._changed else self._stored[key]
        if type(value) in SCALARS:
            return value  # type: ignore[no-any-return]
        encoded = value if type(value) is bytes else to_json(key, value)
        return from_json(key, encoded)  # type: ignore[no-any-return]
