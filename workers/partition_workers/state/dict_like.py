"""What else a dict can do, for a mapping that is none, on top of its reading, writing, deleting and iterating."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from typing import Any, Self

from partition_workers.model import JSON

_ABSENT = object()


class DictLike(MutableMapping[str, Any]):
    """`to_dict` is a copy that shares nothing with it; `copy` shares its values, as that of a dict does."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    @abstractmethod
    def to_dict(self) -> dict[str, JSON]: ...

    @abstractmethod
    def _names(self) -> AbstractSet[str]:
        """Its keys, in any order."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names()))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def setdefault(self, key: str, default: Any = None) -> Any:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            self[key] = value = default
        return value

    def popitem(self) -> tuple[str, Any]:
        """The last in the order of keys."""
        if not self:
            raise KeyError("it is empty")
        key = max(self._names())  # a third of the time that sorting them takes
        return key, self.pop(key)

    def clear(self) -> None:
        for key in self:
            del self[key]

    def copy(self) -> dict[str, Any]:
        """`dict(state)`: a plain dict, with the state's own lists and dicts as its values."""
        return dict(self.items())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.to_dict(),)  # who copies or pickles it gets a plain dict

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | self.copy()

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self
