"""Commits that change many state keys: each is stored as one value, and folded into the state's own keys later.

A key of its own costs etcd some 20 us of processor time at each change, three times over for three members, and holds
up everybody else's commits meanwhile; a line in a value costs a fiftieth of that. So a commit of more than `DIRECT`
keys puts one value, `changes/<p>/<number>`, in the same fenced transaction as ever. Each commit also writes some of
the keys that are due, in the order in which they were first changed. A key that changed ten times meanwhile is
written once: that is what is saved.

Why nothing is lost by it. What is stored is the state's own keys, and over them all changes under `changes/`, in the
order of their numbers. While there are any, *every* change goes there. A key that is folded gets the value of the
newest commit. The changes that are left still say so at their end: they are deleted from the oldest on, so where an
older value of a key is left, its newest is left too. And those are deleted that hold no key which is due.

How long it gets: if a share 1/s of what a commit changes is folded with it, and all keys change alike, the changes
come to s - 1 times the state. `SHARE` is chosen by that: it is what a successor has to read besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from partition_workers.etcd.store import Delete, Operation, Put
from partition_workers.layout import changes as entries
from partition_workers.layout.changes import Changes

#: A commit of more keys than this is stored as one value: it would take etcd more than 20 ms.
DIRECT = 1000
#: Of the keys that a commit changes, so many are folded with it: one in `SHARE`, and never less than `LEAST`, ...
SHARE, LEAST = 4, 500
#: ... or so many, if it changes nothing.
IDLE = 2000
#: Entries that one commit deletes at the most.
MOST_DELETED = 50


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction does. `direct`: written under the state's own keys. `operations`: the rest.

    `changes` is what the commit changed; `number` that of its entry, 0 if it has none; `oldest` the first entry that
    is left afterwards.
    """

    changes: Changes
    direct: Changes
    operations: tuple[Operation, ...] = ()
    number: int = 0
    oldest: int = 0


class ChangeLog:
    """Of one partition, in the hands of its owner. `key(number)` is that of an entry."""

    def __init__(self, key: Callable[[int], str], found: Mapping[int, Changes]) -> None:
        """`found`: the entries that are stored, oldest first. What is due of them is found out later, for it takes
        some 100 ms for 25 entries of 16,000 keys, and somebody waits for the first record."""
        self._key = key
        self._found = dict(found)
        self._due: Changes = {}
        self._since: dict[str, int] = {}
        self._oldest = min(found, default=1)
        self._next = max(found, default=0) + 1

    @property
    def is_live(self) -> bool:
        """Whether the state's own keys are not all there is."""
        return self._oldest < self._next

    @property
    def due(self) -> int:
        """How many keys are still to be folded."""
        self._take_in_found()
        return len(self._due)

    def step(self, changes: Changes, most: int, room: int) -> Step:
        """What the next transaction does about these; nothing is noted yet. `most`: so many keys a transaction may
        write one by one. `room`: bytes that may be folded with it; 0: it is urgent."""
        direct = min(DIRECT, most)
        if not self.is_live and len(changes) <= direct:
            return Step(changes, changes)
        if room and self.due <= direct and self._next - self._oldest <= MOST_DELETED:
            together = {**self._due, **changes}
            if len(together) <= direct and _size(together) <= room:
                return Step(changes, together, self._deleted(self._next), oldest=self._next)
        number, folded, oldest = self._next if changes else 0, Changes(), self._oldest
        if room:
            folded = self._folded(changes, most, room)
            oldest = min(self._needed(len(folded)), self._oldest + MOST_DELETED)
        put = (Put(self._key(number), entries.encode(changes)),) if changes else ()
        return Step(changes, folded, (*put, *self._deleted(oldest)), number, oldest)

    def done(self, step: Step) -> None:
        """It is stored."""
        if step.number:
            self._take_in_found()
            self._note(step.number, step.changes)
            self._next = step.number + 1
        self._oldest = max(self._oldest, step.oldest)
        if self._due:
            for key in step.direct:
                self._due.pop(key, None)
                self._since.pop(key, None)

    def _take_in_found(self) -> None:
        while self._found:
            number = next(iter(self._found))
            self._note(number, self._found.pop(number))

    def _note(self, number: int, changes: Changes) -> None:
        self._due.update(changes)
        since = self._since
        for key in changes:
            since.setdefault(key, number)

    def _folded(self, changes: Changes, most: int, room: int) -> Changes:
        """Those that are due first, as they are after `changes`."""
        count = min(most, max(LEAST, len(changes) // SHARE if changes else IDLE))
        folded: Changes = {}
        for key in islice(self._due, count):
            value = changes[key] if key in changes else self._due[key]
            room -= len(key) + len(value or b"")
            if room < 0 and folded:
                break
            folded[key] = value
        return folded

    def _needed(self, folded: int) -> int:
        """The first entry that is needed once the first so many keys are folded: from it on one is due."""
        return next(islice(self._since.values(), folded, None), self._next)

    def _deleted(self, oldest: int) -> tuple[Operation, ...]:
        return tuple(Delete(self._key(number)) for number in range(self._oldest, oldest))


def _size(changes: Changes) -> int:
    return sum(map(len, changes)) + sum(map(len, filter(None, changes.values())))
