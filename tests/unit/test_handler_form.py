"""What a handler must look like, and what it may return: nothing that would do nothing goes unnoticed."""

from __future__ import annotations

import abc
import functools
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.errors import Misconfigured, ResultThrownAway
from partition_workers.handler import Context, Handler
from partition_workers.handler_form import refuse_result, refuse_wrong_form
from partition_workers.model import Partition
from partition_workers.state.mapping import State

CONTEXT = Context(Partition("events", 3), 17, "here", lambda: None, lambda: False)


async def asynchronous(record: Any, state: Any) -> None: ...


async def asynchronous_generator(record: Any, state: Any) -> AsyncIterator[int]:
    yield 1


def generator(record: Any, state: Any) -> Iterator[int]:
    yield 1


class AsyncCall:
    async def __call__(self, record: Any, state: Any) -> None: ...


class GeneratorCall:
    def __call__(self, record: Any, state: Any) -> Iterator[int]:
        yield 1


class AsyncHandle:
    async def handle(self, record: Any, state: Any) -> None: ...


class AsyncBatch:
    async def handle_batch(self, records: Any, state: Any) -> None: ...


class AsyncStatic:
    @staticmethod
    async def handle(record: Any, state: Any) -> None: ...


class AsyncAsAttribute:
    handle = AsyncCall()


class AsyncByPartial:
    async def _handle(self, more: Any, record: Any, state: Any) -> None: ...

    handle = functools.partialmethod(_handle, 1)


class Good:
    def handle(self, record: Any, state: Any) -> None: ...


class AsyncOpen(Good):
    async def open(self, context: Any) -> None: ...


class AsyncClose(Good):
    async def close(self) -> None: ...


class OpenTakesNothing(Good):
    def open(self) -> None: ...


class NeedsArguments(Good):
    def __init__(self, database: str, *, timeout: float) -> None: ...


class HandleTakesOne:
    def handle(self, record: Any) -> None: ...


class HandleTakesThree:
    def handle(self, record: Any, state: Any, more: Any) -> None: ...


class StaticWithSelf:
    @staticmethod
    def handle(self: Any, record: Any, state: Any) -> None: ...


class Abstract(abc.ABC):
    @abc.abstractmethod
    def handle(self, record: Any, state: Any) -> None: ...


class NotCallable:
    handle = 3


def wrong(name: str, parent: Any, target: Any) -> str:
    with pytest.raises(Misconfigured) as caught:
        refuse_wrong_form(name, parent, target)
    assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (asynchronous, "async"),
        (functools.partial(asynchronous), "async"),
        (functools.partial(functools.partial(asynchronous)), "async"),
        (functools.partial(AsyncCall()), "async"),
        (asynchronous_generator, "async"),
        (generator, "generator"),
        (AsyncCall(), "async"),
        (GeneratorCall(), "generator"),
        (AsyncHandle().handle, "async"),
        (AsyncHandle, "handle is async"),
        (AsyncBatch, "handle_batch is async"),
        (AsyncStatic, "handle is async"),
        (AsyncAsAttribute, "handle is async"),
        (AsyncByPartial, "handle is async"),
        (AsyncOpen, "open is async"),
        (AsyncClose, "close is async"),
        (lambda: None, r"called with \(record, state\)"),
        (lambda record: None, r"called with \(record, state\), and takes \(record\)"),
        (lambda record, state, context, more: None, "takes"),
        (lambda record, state, *, must: None, "takes"),
        (NeedsArguments, r"made without arguments, and needs \(database: 'str', \*, timeout: 'float'\)"),
        (OpenTakesNothing, r"open is called with \(context\)"),
        (HandleTakesOne, r"handle is called with \(record, state\)"),
        (HandleTakesThree, r"handle is called with \(record, state\)"),
        (StaticWithSelf, r"handle is called with \(record, state\)"),
        (Abstract, "abstract: it does not say what handle does"),
        (NotCallable, "handle is an int, not a method"),
        (3, "it is int, not a function"),
        (Good(), "name the class, Good"),
        (type("Empty", (), {}), "needs handle"),
    ],
)
def test_what_can_be_seen_to_do_nothing_is_refused_at_the_start(target: Any, said: str) -> None:
    """With the name that it was called by, what is wrong, and what would be right."""
    assert re.search(said, wrong("mine:handle", None, target))


def test_a_method_without_its_object_is_refused() -> None:
    """Its first argument would be the record."""
    assert "name the class, Good" in wrong("mine:Good.handle", Good, Good.handle)


class Static:
    @staticmethod
    def handle(record: Any, state: Any) -> None: ...


class OfTheClass:
    @classmethod
    def handle(cls, record: Any, state: Any) -> None: ...


class Defaults(Good):
    def __init__(self, database: str = "here") -> None: ...

    def open(self, *arguments: Any) -> None: ...


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that gives one argument more, as those for databases do."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments, "database")

    return call


@around
def decorated(record: Any, state: Any, database: Any, more: Any = None) -> None: ...


@pytest.mark.parametrize(
    "target",
    [
        Good,
        Static,
        OfTheClass,
        Defaults,
        Static.handle,
        Good().handle,
        decorated,
        print,
        lambda record, state: None,
        lambda record, state, context: None,
        lambda *arguments: None,
        lambda record, state, more=1: None,
        functools.partial(lambda database, record, state: None, "database"),
    ],
)
def test_what_can_be_called_is_accepted(target: Any) -> None:
    """However it is dressed."""
    refuse_wrong_form("mine:handle", None, target)


@pytest.mark.parametrize(
    ("handle", "said"),
    [
        (lambda record, state: asynchronous(record, state), "a coroutine, which nobody awaits"),
        (lambda record, state: asynchronous_generator(record, state), "an async_generator, whose code never ran"),
        (lambda record, state: generator(record, state), "a generator, whose code never ran"),
        (functools.wraps(asynchronous)(lambda *arguments: asynchronous(*arguments)), "which nobody awaits"),
        (lambda record, state: state | {"a": 1}, "returned a dict, which would be thrown away"),
        (lambda record, state: False, "returned a bool"),
    ],
)
@pytest.mark.parametrize("batch", [True, False])
def test_what_cannot_be_seen_at_the_start_shows_by_what_is_returned(handle: Any, said: str, batch: bool) -> None:
    """And nobody is told later that a coroutine was never awaited."""
    refuse_wrong_form("mine:handle", None, handle)
    made = Handler(type("Mine", (), {"handle_batch": staticmethod(handle)}) if batch else handle)
    made.open(CONTEXT)
    record: Any = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ResultThrownAway, match=said):
            made.handle_alone(record, State())


@given(st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.integers()), st.tuples()))
def test_whatever_is_returned_is_refused(result: Any) -> None:
    """An empty list was meant for somebody too."""
    with pytest.raises(ResultThrownAway, match=type(result).__name__):
        refuse_result(result)


def test_an_open_that_only_looks_like_plain_code_is_refused_when_it_is_called() -> None:
    """It has connected to nothing."""

    class Mine(Good):
        def open(self, context: Any) -> Any:
            return asynchronous(context, None)

    with pytest.raises(ResultThrownAway, match="nobody awaits"):
        Handler(Mine).open(CONTEXT)


def passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


@pytest.mark.parametrize(
    ("handle", "called_with"),
    [
        (around(lambda *arguments: seen.append(arguments)), 3),
        (around(lambda record, state, database: seen.append((record, state, database))), 3),
        (passes_on(lambda record, state, context: seen.append((record, state, context))), 3),
        (passes_on(lambda record, state: seen.append((record, state))), 2),
    ],
)
def test_a_decorator_is_called_with_what_it_takes(handle: Any, called_with: int) -> None:
    """One that passes everything on does not hide that the context is wanted; one that adds something is not given
    the context in its place."""
    seen.clear()
    refuse_wrong_form("mine:handle", None, handle)
    made = Handler(handle)
    made.open(CONTEXT)
    record: Any = None
    made.handle_alone(record, State())
    assert len(seen[0]) == called_with


seen: list[tuple[Any, ...]] = []
