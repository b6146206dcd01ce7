"""The handler: the user's code, as a function or a class.

    from partition_workers import Context, Record, State

    def handle(record: Record, state: State) -> None:
        state["count"] = state.get("count", 0) + 1

A function may take the context as a third parameter. A class has `handle(record, state)` or
`handle_batch(records, state)`, and, if it likes, `open(context)`, `flush()` and `close()`. `open` may return the next
offset, where a target that keeps its own position stands. Named as `package.module:attribute`
or `path/to/file.py:attribute`.

What is promised: for every partition, the stored state is the fold of the handler over the records in order, each
exactly once, whatever dies. What is NOT promised: anything the handler does outside `state` can happen again after
a crash; and what it has begun and not finished when `handle` returns is lost in a crash, unless it is finished in
`flush`, which is called before each cut is sent. `context.token` grows with every owner; a target that refuses
smaller tokens, or a (partition, offset) it has seen, is safe from a stale or repeated write. Import freely at the top
of the module, but connect in `open`: the module is imported once, before the workers are forked.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from partition_workers.errors import NOT_OF_THE_RECORD, FlushFailed, Misconfigured
from partition_workers.handler_form import position_from, refuse_result, refuse_wrong_form
from partition_workers.handler_import import import_handler_module, what_hides
from partition_workers.model import Partition, Reset, Token
from partition_workers.outputs.buffer import Headers, Outputs
from partition_workers.state.mapping import State

if TYPE_CHECKING:
    from partition_workers.kafka.reader import Record


class Produce(Protocol):
    """`partition`: by the key if it is not given. `timestamp` in milliseconds."""

    def __call__(
        self,
        topic: str,
        value: str | bytes | None,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None: ...


HandleOne = Callable[["Record", State], object]
HandleBatch = Callable[["list[Record]", State], object]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Context:
    """Where, and under which token, a handler works: the same from `open` to `close`."""

    #: The Kafka topic (`partition.topic`, text) and number (`partition.number`); shown as `events[3]`.
    partition: Partition
    #: The fencing token: a whole number that grows with each owner of the partition, for ever. A target that refuses
    #: smaller ones is safe from an owner that does not know yet that it is none.
    token: Token
    #: The `--host-id` of this host.
    host: str
    #: Says, from within a long record, that all is well: `--handler-timeout` counts from here. Raises nothing.
    heartbeat: Callable[[], None]
    #: True once the worker was asked to leave: a long record may look, and hurry.
    stopping: Callable[[], bool]
    #: Sends a record to a topic named by `--output`, with the commit of the records that are being handled: see
    #: `docs/outputs.md`. For `handle`, not for `open`. Raises OutputInvalid, which goes the way of a handler's error.
    produce: Produce = Outputs(()).produce
    #: The logger `handler`. What it and all others log reaches the supervisor's log.
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("handler"))
    #: The topics of `--output`.
    outputs: tuple[str, ...] = ()
    #: An `offsets reset` that no owner has followed yet: a target that keeps its own position, and has seen no token
    #: beyond `reset.revision`, has to go to `reset.offset`. None: there is none.
    reset: Reset | None = None


class Handler:
    """The user's code behind one shape. Exactly one of `one` and `batch` is set once it is open."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._instance: Any = None
        self.one: HandleOne | None = None
        self.batch: HandleBatch | None = None
        self._flush: Callable[[], object] | None = None
        #: Where its target stands, if `open` said so: the next offset.
        self.position: int | None = None

    @property
    def takes_time_to_open(self) -> bool:
        """Whether that runs code of the user's, for as long as it likes."""
        return isinstance(self._target, type)

    def open(self, context: Context) -> None:
        if isinstance(self._target, type):
            self._instance = self._target()
            if hasattr(self._instance, "open"):
                self.position = position_from(self._instance.open(context))
            self._flush = getattr(self._instance, "flush", None)
            self.batch = getattr(self._instance, "handle_batch", None)
            self.one = None if self.batch else self._instance.handle
        else:
            self.one = _bound(self._target, context)

    def flush(self) -> None:
        """What it has gathered is to be done when this returns. Raises FlushFailed; and, when flush() does, what is
        not of the records."""
        if self._flush is None:
            return
        try:
            if (result := self._flush()) is not None:
                refuse_result(result, "flush()")
        except NOT_OF_THE_RECORD:
            raise
        except BaseException as error:  # whatever it raises: nothing but the handler runs in here
            raise FlushFailed(f"flush() raised {type(error).__name__}: {error}") from error

    def close(self) -> None:
        if hasattr(self._instance, "close"):
            self._instance.close()

    def handle_alone(self, record: Record, state: State) -> None:
        """Raises what the handler raises, and ResultThrownAway when it returns something."""
        result = self.batch([record], state) if self.batch else self.one(record, state) if self.one else None
        if result is not None:
            refuse_result(result)


def _bound(function: Any, context: Context) -> HandleOne:
    """The function, with the context if it has a third parameter for it.

    A decorator that takes whatever comes is looked through only for a parameter that is called `context`: it may
    give what it wraps a third one of its own.
    """
    third = _third_parameter(function, follow_wrapped=False)
    if third is _ANYTHING:
        third = _third_parameter(function, follow_wrapped=True)
        wants_it = third is not None and third is not _ANYTHING and third.name == "context"
    else:
        wants_it = third is not None and (third.default is inspect.Parameter.empty or third.name == "context")
    if not wants_it:
        bound: HandleOne = function
        return bound
    return lambda record, state: function(record, state, context)


#: Of a function that takes any arguments.
_ANYTHING = inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL)


def _third_parameter(function: Any, *, follow_wrapped: bool) -> inspect.Parameter | None:
    try:
        parameters = list(inspect.signature(function, follow_wrapped=follow_wrapped).parameters.values())
    except (TypeError, ValueError):  # it is not written in Python, and does not say
        return None
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if len(positional) > 2:
        return positional[2]
    return _ANYTHING if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters) else None


#: How a supervisor tells its fork server which handler to import.
PRELOAD = "PARTITION_SUPERVISOR_PRELOAD"
#: What the supervisor has changed in the fork server's environment: a JSON object of what was there (null: nothing).
ENVIRONMENT = "PARTITION_SUPERVISOR_PRELOAD_ENVIRONMENT"

_loaded: dict[str, Handler | Misconfigured] = {}
#: Where modules are looked for since the handler was imported.
_path: dict[str, list[str]] = {}


def load(name: str) -> Handler:
    """Import the handler called `name`, once in the life of a process and those forked from it.

    Raises Misconfigured, in words for its author, when that cannot be.
    """
    if name not in _loaded:
        try:
            _loaded[name] = Handler(_find(name))
        except Misconfigured as error:
            _loaded[name] = error
        _path[name] = sys.path.copy()
    sys.path[:] = _path[name]  # multiprocessing gives each worker the supervisor's; handlers import at any time
    found = _loaded[name]
    if isinstance(found, Misconfigured):
        raise found
    return found


def _find(name: str) -> Any:
    where, separator, attribute = name.rpartition(":")
    if not separator or not where or not attribute:
        raise Misconfigured(f"handler {name!r}: write package.module:attribute or path/to/file.py:attribute")
    module = import_handler_module(name, where)
    parent = target = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            near = ", ".join(sorted(n for n in vars(module) if not n.startswith("_"))) or "nothing"
            hint = what_hides(where, module.__name__)
            raise Misconfigured(f"handler {name!r}: {where} has no {attribute!r} (it has: {near}){hint}")
        parent, target = target, getattr(target, part)
    refuse_wrong_form(name, parent, target)
    return target
