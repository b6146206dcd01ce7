"""What a handler must look like, and what it must return: what would make it do nothing is refused, with the reason.

What can be seen is refused at the start. What cannot, like a plain function that returns a coroutine of another,
shows at the first record: by what is returned, which must be None.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from partition_workers.errors import Misconfigured, ResultThrownAway

#: The methods of a handler class, each with the arguments that it is called with.
METHODS = {
    "open": ("context",),
    "handle": ("record", "state"),
    "handle_batch": ("records", "state"),
    "flush": (),
    "close": (),
}
#: What a function is called with; it may take the context too.
FUNCTION = ("record", "state")
MORE = "context"


def refuse_wrong_form(name: str, parent: Any, target: Any) -> None:
    """Raises Misconfigured, in words for its author, when `target`, an attribute of `parent`, is no handler.

    `name`: as the handler was named on the command line.
    """
    wrong = _wrong_class(target) if isinstance(target, type) else _wrong_callable(parent, target)
    if wrong:
        raise Misconfigured(f"handler {name!r}: {wrong}")


def refuse_result(result: object, who: str = "the handler") -> None:
    """Raises ResultThrownAway. For whatever a handler returned that is not None."""
    if unrun := _never_run(result):
        raise ResultThrownAway(unrun)
    raise ResultThrownAway(
        f"{who} returned {_a(type(result).__name__)}, which would be thrown away: what is to be kept goes into"
        " the state, and a handler returns nothing"
    )


def position_from(result: object) -> int | None:
    """What open() returned: an offset, or nothing. Raises ResultThrownAway for a coroutine or a generator, whose code
    did not run and never would, and for whatever else it may be."""
    if unrun := _never_run(result):
        raise ResultThrownAway(unrun)
    if result is None or (type(result) is int and result >= 0):
        return result
    raise ResultThrownAway(f"open() returned {_a(type(result).__name__)}: an offset from which to go on, or nothing")


def _never_run(result: object) -> str | None:
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()  # or Python says, much later, that nobody awaited it
    if inspect.isawaitable(result):
        return (
            f"the handler returned {_a(type(result).__name__)}, which nobody awaits, so it did nothing: use plain def"
        )
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        return f"the handler returned {_a(type(result).__name__)}, whose code never ran: a handler does not yield"
    return None


def _wrong_class(target: type) -> str | None:
    methods = {name: getattr(target, name, None) for name in METHODS}
    if not methods["handle"] and not methods["handle_batch"]:
        return "the class needs handle(record, state) or handle_batch(records, state)"
    if inspect.isabstract(target):
        missing = ", ".join(sorted(getattr(target, "__abstractmethods__", ())))
        return f"the class is abstract: it does not say what {missing} does"
    if (needs := _misfit(target, ())) is not None:
        return f"the class is made without arguments, and needs {needs}; connect in open(context)"
    for name, arguments in METHODS.items():
        method = methods[name]
        if method is None:
            continue
        if not callable(method):
            return f"{name} is {_a(type(method).__name__)}, not a method"
        raw = inspect.getattr_static(target, name)
        if isinstance(raw, functools.partialmethod) and (wrong := _unrunnable(name, raw.func)):
            return wrong
        is_bound = isinstance(raw, staticmethod | classmethod)
        if wrong := _wrong_call(name, method, arguments, ("self",) * (not is_bound and inspect.isroutine(method))):
            return wrong
    return None


def _wrong_callable(parent: Any, target: Any) -> str | None:
    if not callable(target):
        is_made = hasattr(target, "handle") or hasattr(target, "handle_batch")
        hint = f": name the class, {type(target).__qualname__}; each worker makes its own" if is_made else ""
        return f"it is {type(target).__name__}, not a function or a class{hint}"
    called = getattr(target, "__name__", None) or type(target).__name__
    if (
        isinstance(parent, type)
        and inspect.isfunction(target)
        and next(iter(inspect.signature(target).parameters), "") == "self"
    ):
        return f"{called} is a method, and there is no object to call it on: name the class, {parent.__qualname__}"
    if _misfit(target, (*FUNCTION, MORE)) is None:
        return _unrunnable(called, target)
    return _wrong_call(called, target, FUNCTION, ())


def _wrong_call(
    name: str, code: Callable[..., Any], arguments: tuple[str, ...], before: tuple[str, ...]
) -> str | None:
    if wrong := _unrunnable(name, code):
        return wrong
    if (needs := _misfit(code, (*before, *arguments))) is not None:
        return f"{name} is called with ({', '.join(arguments)}), and takes {needs}"
    return None


def _unrunnable(name: str, code: Any) -> str | None:
    """A function around an async one may well run it, or not: that shows at the first record."""
    while isinstance(code, functools.partial):
        code = code.func
    if not inspect.isroutine(code):
        code = type(code).__call__
    if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
        return f"{name} is async, so calling it would do nothing: use plain def"
    if inspect.isgeneratorfunction(code):
        return f"{name} is a generator, so calling it would do nothing: use plain def without yield"
    return None


def _misfit(code: Callable[..., Any], arguments: tuple[str, ...]) -> str | None:
    """What it takes, if it cannot be called with these positional arguments. In doubt it can."""
    try:
        signature = inspect.signature(code, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*arguments)
    except TypeError:
        parameters = [each for each in signature.parameters.values() if each.name != "self"]
        return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    return None


def _a(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"
