"""Many keys in one transaction: transactions inside a transaction, written as bytes.

etcd counts the operations of each level by itself: one that is a transaction counts as one, and what is left of the
limit (128 by default) holds inside it. So 64 operations that are transactions of 64 each are the most that the
default takes, at one revision, all or nothing. Measured with three members on two cores: 1,000 keys 20 ms, 4,000
80 ms, the same time for each key as a hundred in a plain transaction; ten plain ones after the other take as long,
but are not one.

Rejected: pages of many keys in one value. Where 1,000 keys change all the time, 16 pages of 64 take 2.5 ms instead of
20, and a tenth of etcd's processor time; but 20 ms of each 100 hold up nobody. Where 1,000 of 100,000 change, chosen
at random, some 640 of 1,024 pages change; 500 took 28 ms and 0.8 MB, against 20 ms and 70 KB. One value with just the
changes took 6 ms for 4,000 of them instead of 80: so larger commits are stored, see `change_log.py`.

The operations are written by hand, because protobuf's objects cost a microsecond for each key, four times as much.
protobuf reads them back before they are sent, so what leaves here is well formed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: Operations that etcd takes in one level, by default.
FLAT = 128
#: Of the inner transactions, and how many there may be of them.
GROUP = 64


def success_branch(first: list[bytes], prefix: bytes, values: Mapping[str, bytes | None]) -> bytes:
    """A serialized TxnRequest with nothing but its success branch: the operations `first`, and those for `values`,
    whose keys follow `prefix`; None deletes."""
    pieces = [_SUCCESS + varint(len(each)) + each for each in first]
    pieces += _operations(prefix, values)
    if len(pieces) <= FLAT:
        return b"".join(pieces)
    return b"".join(_inner(b"".join(pieces[at : at + GROUP])) for at in range(0, len(pieces), GROUP))


def leaves(responses: Iterable[Any]) -> Iterator[Any]:
    """The answers to all operations, in their order, from those of a success branch."""
    for each in responses:
        if each.HasField("response_txn"):
            yield from leaves(each.response_txn.responses)
        else:
            yield each


def varint(number: int) -> bytes:
    """As protobuf writes numbers that are not negative."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


#: Fields that hold bytes: TxnRequest.success, RequestOp.request_put, .request_delete_range, .request_txn,
#: PutRequest.key and DeleteRangeRequest.key, PutRequest.value.
_SUCCESS, _PUT, _DELETE, _TXN, _KEY, _VALUE = b"\x12", b"\x12", b"\x1a", b"\x22", b"\x0a", b"\x12"


def _operations(prefix: bytes, values: Mapping[str, bytes | None]) -> list[bytes]:
    frames: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    pieces: list[bytes] = []
    for name, value in values.items():
        key = name.encode()
        lengths = (len(key), -1 if value is None else len(value))
        frame = frames.get(lengths)
        if frame is None:
            frames[lengths] = frame = _frame(prefix, *lengths)
        pieces.append(frame[0] + key + frame[1] + (value or b""))
    return pieces


def _frame(prefix: bytes, key: int, value: int) -> tuple[bytes, bytes]:
    """What stands before the key and between key and value, for so many bytes of each; -1: no value, deleted."""
    before_key = _KEY + varint(len(prefix) + key)
    between = _VALUE + varint(value) if value >= 0 else b""
    inner = len(before_key) + len(prefix) + key + len(between) + max(value, 0)
    operation = (_DELETE if value < 0 else _PUT) + varint(inner)
    return _SUCCESS + varint(len(operation) + inner) + operation + before_key + prefix, between


def _inner(success: bytes) -> bytes:
    operation = _TXN + varint(len(success)) + success
    return _SUCCESS + varint(len(operation)) + operation
