"""Our words in etcd's: messages built and read. Pure functions; nothing here waits.

Messages are filled in place, never nested in constructors: protobuf would copy every value once per level.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from partition_workers.etcd import bulk
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.store import (
    Change,
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Operation,
    Put,
    Target,
    Txn,
    TxnResult,
)

_COMPARED = {
    Target.VERSION: rpc.Compare.VERSION,
    Target.MOD_REVISION: rpc.Compare.MOD,
    Target.VALUE: rpc.Compare.VALUE,
}


def txn_request(txn: Txn) -> Any:
    request = rpc.TxnRequest()
    for compare in txn.compare:
        _fill_compare(request.compare.add(), compare)
    if txn.many is not None:
        request.MergeFromString(bulk.success_branch(_fields(txn), raw(txn.many.prefix), txn.many.values))
    else:
        for operation in txn.success:
            _fill_operation(request.success.add(), operation, txn.serializable)
    for operation in txn.failure:
        _fill_operation(request.failure.add(), operation, txn.serializable)
    return request


def _fields(txn: Txn) -> list[bytes]:
    """The operations of the success branch, each as bytes."""
    fields = []
    for operation in txn.success:
        message = rpc.RequestOp()
        _fill_operation(message, operation, txn.serializable)
        fields.append(message.SerializeToString())
    return fields


def txn_result(answer: Any, txn: Txn) -> TxnResult:
    responses = answer.responses
    if answer.succeeded and txn.many is not None:
        responses = islice(bulk.leaves(responses), len(txn.success))
    return TxnResult(
        succeeded=answer.succeeded,
        revision=answer.header.revision,
        answers=tuple(tuple(map(key_value, each.response_range.kvs)) for each in responses),
    )


def range_request(key: str, prefix: bool = False, limit: int = 0) -> Any:
    """A linearizable read, in key order. A `limit` of 0 is none."""
    request = rpc.RangeRequest(key=raw(key), limit=limit)
    if prefix:
        _widen(request, key)
    return request


def watch_request(place: str | KeyRange, start_revision: int) -> Any:
    """`place`: a prefix or a range."""
    request = rpc.WatchRequest()
    create = request.create_request
    if isinstance(place, KeyRange):
        create.key, create.range_end = raw(place.first), raw(place.end)
    else:
        create.key = raw(place)
        _widen(create, place)
    create.start_revision = start_revision
    create.progress_notify = True
    return request


def key_value(kv: Any) -> KeyValue:
    return KeyValue(
        key=text(kv.key),
        value=kv.value,
        version=kv.version,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        lease=kv.lease,
    )


def change(event: Any) -> Change:
    return Change(key_value(event.kv), deleted=event.type == event.DELETE)


def raw(key: str) -> bytes:
    """A key's bytes. Keys of others need not be text; those come and go unharmed."""
    return key.encode("utf-8", "surrogateescape")


def text(key: bytes) -> str:
    """The opposite of `raw`."""
    return key.decode("utf-8", "surrogateescape")


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`; a zero byte, "to the end", when there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"


def _widen(request: Any, prefix: str) -> None:
    request.range_end = prefix_end(raw(prefix))
    if not prefix:
        request.key = b"\0"  # how etcd spells the first of all keys


def _fill_compare(message: Any, compare: Compare) -> None:
    message.target = _COMPARED[compare.target]
    message.key = raw(compare.key)
    setattr(message, compare.target.value, compare.value)


def _fill_operation(message: Any, operation: Operation, serializable: bool) -> None:
    match operation:
        case Put(key, value, lease):
            put = message.request_put
            put.key, put.value, put.lease = raw(key), value, lease
        case Delete(key, prefix):
            _fill_range(message.request_delete_range, key, prefix)
        case Get(key, prefix, limit, names):
            _fill_range(message.request_range, key, prefix)
            message.request_range.limit, message.request_range.keys_only = limit, names
            message.request_range.serializable = serializable


def _fill_range(message: Any, key: str, prefix: bool) -> None:
    message.key = raw(key)
    if prefix:
        _widen(message, key)
