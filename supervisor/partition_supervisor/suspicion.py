"""What makes a supervisor suspect that a host is dead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FirstWitness:
    """`refused`: at once, at an address where the right hello was said before, and it has no connection to us either;
    or its kernel ended both connections in good order, and nobody answers. `seconds`: since our connection ended if
    it refused, otherwise since the host was heard last. `others`: how many hosts were ever reached, with this one;
    `answering`: how many of them are now."""

    refused: bool
    seconds: float
    others: int
    answering: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Of a host, in the life that had this link."""

    host: str
    link: str
    witness: FirstWitness
