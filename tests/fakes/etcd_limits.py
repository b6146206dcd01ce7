"""What etcd refuses of a transaction before it looks at its comparisons: too many operations, too many bytes, a key
that is written twice."""

from __future__ import annotations

from collections.abc import Sequence

from partition_workers.errors import Refused, RequestTooLarge, TooManyOperations
from partition_workers.etcd.bulk import FLAT, GROUP
from partition_workers.etcd.store import Delete, Operation, Put, PutMany, Txn

#: etcd's defaults.
MAX_OPERATIONS = 128
MAX_REQUEST_BYTES = 1536 * 1024


def in_bytes(key: str) -> bytes:
    """A key need not be text; our client keeps what is none as Python does."""
    return key.encode(errors="surrogateescape")


def check(txn: Txn, max_operations: int, max_request_bytes: int) -> None:
    """Operations are counted for each level of the request; what one leaves of the limit holds inside of it."""
    success = (*txn.success, *operations_of(txn.many))
    groups = -(-len(success) // GROUP) if txn.many is not None and len(success) > FLAT else 0
    widest = max(len(txn.compare), len(txn.failure), groups or len(success))
    if widest > max_operations or (groups and max_operations - widest < GROUP):
        raise TooManyOperations("the fake etcd refused Txn: too many operations in txn request")
    for branch in (success, txn.failure):
        _check_duplicates(branch)
    if _size((*success, *txn.failure)) > max_request_bytes:
        raise RequestTooLarge("the fake etcd refused Txn: request is too large")


def operations_of(many: PutMany | None) -> tuple[Put | Delete, ...]:
    """The same, one by one."""
    if many is None:
        return ()
    prefix = many.prefix
    return tuple(
        Delete(prefix + key) if value is None else Put(prefix + key, value) for key, value in many.values.items()
    )


def _check_duplicates(branch: Sequence[Operation]) -> None:
    """No key is put twice, nor put and deleted."""
    written: set[str] = set()
    for operation in branch:
        if isinstance(operation, Put):
            if operation.key in written:
                raise Refused("the fake etcd refused Txn: duplicate key given in txn request")
            written.add(operation.key)
    for operation in branch:
        if not isinstance(operation, Delete):
            continue
        if operation.key in written or (operation.prefix and any(key.startswith(operation.key) for key in written)):
            raise Refused("the fake etcd refused Txn: duplicate key given in txn request")


def _size(operations: Sequence[Operation]) -> int:
    puts = (each for each in operations if isinstance(each, Put))
    return sum(len(in_bytes(put.key)) + len(put.value) for put in puts)
