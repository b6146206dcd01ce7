"""The bridge to etcd3 0.12: its stubs and messages, made usable under today's protobuf.

Why. etcd3's generated `*_pb2.py` files come from a protobuf compiler of before 2019. Since protobuf 4 they
raise "Descriptors cannot be created directly" when imported, so `import etcd3` fails as a whole. But each
of these files carries the complete description of its messages as serialized bytes, and those have not
aged: they are the wire format's own. So we read the bytes, build the messages from them with protobuf's
public functions, and put the resulting modules where etcd3's generated stubs look for them. The messages
are then made by protobuf's C implementation, which is three times as fast for large transactions as what
etcd3 was released with.

What was rejected.
- Pinning protobuf 3.20: it has no wheels for current Pythons, keeps current grpcio out, and forces its age
  on whatever else the handler of a user imports.
- PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python: the one switch under which the old files still import. It
  makes all protobuf in the process several times slower, the user's too, and must be set before anything
  imports it.
- Generating the messages anew and keeping them here: a copy of etcd's protocol to maintain, next to a
  library that has it.

How it behaves. The messages live in a descriptor pool of their own, so another etcd client in the process,
with the same message names, does no harm. Of etcd3 only three data files and the stubs are read; its
`__init__` and the client in it stay out, which also keeps importing cheap. Nothing starts a thread or opens
a connection, so a fork server may preload this module. If the messages are already loaded, those are used.
Whoever imports etcd3 *after* us gets the real, whole package, now with working messages.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool, message_factory

from partition_workers.errors import Misconfigured

_PACKAGE = "etcd3.etcdrpc"
_PROTOCOL_FILES = ("kv", "auth", "rpc")  # in the order of their imports
_NEEDED = ("TxnRequest", "RangeRequest", "WatchRequest", "LeaseKeepAliveRequest", "AuthenticateRequest")


def _load() -> tuple[Any, Any]:
    """etcd3's modules `rpc_pb2` and `rpc_pb2_grpc`. Raises Misconfigured when etcd3 is not what we know."""
    folder = _folder()
    if f"{_PACKAGE}.rpc_pb2" not in sys.modules:
        for module in _messages(folder):
            sys.modules[module.__name__] = module
    with _hollow_packages(folder):
        stubs = importlib.import_module(f"{_PACKAGE}.rpc_pb2_grpc")
    return sys.modules[f"{_PACKAGE}.rpc_pb2"], stubs


def _folder() -> Path:
    """etcd3's folder, found without running any of its code."""
    try:
        spec = importlib.util.find_spec("etcd3")
    except ValueError:  # something took the name without saying where it is
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured("the Python package etcd3 is missing: pip install etcd3==0.12.0")
    return Path(next(iter(spec.submodule_search_locations)))


def _messages(folder: Path) -> list[ModuleType]:
    pool = descriptor_pool.DescriptorPool()
    modules = []
    for name in _PROTOCOL_FILES:
        path = folder / "etcdrpc" / f"{name}_pb2.py"
        try:
            modules.append(_module(f"{_PACKAGE}.{name}_pb2", pool.AddSerializedFile(_serialized(path))))
        except (OSError, TypeError, ValueError, SyntaxError) as error:
            raise _unknown_layout(f"{path.name}: {error}") from error
    missing = [name for name in _NEEDED if not hasattr(modules[-1], name)]
    if missing:
        raise _unknown_layout(f"no {', '.join(missing)}")
    return modules


def _serialized(path: Path) -> bytes:
    """The file's own description, written in it as `serialized_pb=_b('...')` or `serialized_pb=b'...'`."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("serialized_pb="):
            value = ast.parse(line.strip().removeprefix("serialized_pb=").rstrip(","), mode="eval").body
            literal = ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)
            return literal.encode("latin1") if isinstance(literal, str) else bytes(literal)
    raise ValueError("it does not describe its messages")


def _module(name: str, file: Any) -> ModuleType:
    module = ModuleType(name)
    names = vars(module)
    names["DESCRIPTOR"] = file
    for descriptor in file.message_types_by_name.values():
        names[descriptor.name] = message_factory.GetMessageClass(descriptor)
    for enum in file.enum_types_by_name.values():
        names.update({value.name: value.number for value in enum.values})
    return module


@contextmanager
def _hollow_packages(folder: Path) -> Iterator[None]:
    """Let the stubs be imported as a part of etcd3 without its `__init__`, which loads the whole client."""
    hollow = []
    for name, path in (("etcd3", folder), (_PACKAGE, folder / "etcdrpc")):
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(path)]
            sys.modules[name] = package
            hollow.append(name)
    try:
        yield
    except ImportError as error:
        raise _unknown_layout(str(error)) from error
    finally:
        for name in hollow:
            del sys.modules[name]


def _unknown_layout(why: str) -> Misconfigured:
    return Misconfigured(f"this etcd3 is not the one we know ({why}): pip install etcd3==0.12.0")


rpc, stubs = _load()
