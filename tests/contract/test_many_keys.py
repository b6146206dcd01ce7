"""Many keys in one transaction: at one revision, all or nothing, up to the limits of etcd; fake and real."""

from __future__ import annotations

import pytest

from partition_workers.errors import Refused, RequestTooLarge, TooManyOperations
from partition_workers.etcd.store import Compare, Delete, Get, Operation, Put, PutMany, Target, Txn
from tests.contract.group import AnyStore

SIZES = [1, 127, 128, 129, 4000]


def many(prefix: str, count: int, value: bytes = b"1") -> PutMany:
    return PutMany(f"{prefix}many/", {f"{number:05d}": value for number in range(count)})


@pytest.mark.parametrize("count", SIZES)
def test_all_are_put_at_one_revision(store: AnyStore, prefix: str, count: int) -> None:
    """Those of `success` too, whose answers are told; a watch sees them as one change."""
    store.transact(Txn((), (Put(f"{prefix}before", b"0"),)))
    stream = store.watch((prefix,), store.list(prefix).revision + 1)
    success: tuple[Operation, ...] = (Put(f"{prefix}first", b"1"), Get(f"{prefix}before"), Get(f"{prefix}first"))
    result = store.transact(Txn((), success, many=many(prefix, count)))
    changes = [change for _, change in zip(range(count + 1), stream, strict=False)]
    stream.cancel()
    assert result.succeeded
    assert len(result.answers) == 3
    assert [[item.value for item in answer] for answer in result.answers] == [[], [b"0"], [b"1"]]
    assert {change.item.mod_revision for change in changes} == {result.revision}
    listed = store.list(f"{prefix}many/")
    assert [each.key for each in listed.items] == [f"{prefix}many/{number:05d}" for number in range(count)]
    assert {(each.value, each.mod_revision) for each in listed.items} == {(b"1", result.revision)}


@pytest.mark.parametrize("count", SIZES)
def test_none_is_put_when_a_comparison_fails(store: AnyStore, prefix: str, count: int) -> None:
    """And the other branch is answered."""
    store.transact(Txn((), (Put(f"{prefix}lock", b"mine"),)))
    compare = Compare(f"{prefix}lock", Target.VERSION, 0)
    result = store.transact(Txn((compare,), (), (Get(f"{prefix}lock"),), many=many(prefix, count)))
    assert not result.succeeded
    assert [item.value for item in result.answers[0]] == [b"mine"]
    assert store.list(f"{prefix}many/").items == ()


@pytest.mark.parametrize("count", SIZES)
def test_none_deletes(store: AnyStore, prefix: str, count: int) -> None:
    """Keys that are there and keys that are not, beside others that are put."""
    store.transact(Txn((), (), many=many(prefix, count)))
    values: dict[str, bytes | None] = {f"{number:05d}": None for number in range(count // 2, count)}
    values["new"] = b""
    values["never there"] = None
    store.transact(Txn((), (), many=PutMany(f"{prefix}many/", {**values})))
    assert len(store.list(f"{prefix}many/").items) == count // 2 + 1


def test_soon_as_well(store: AnyStore, prefix: str, beside: None) -> None:
    success = (Put(f"{prefix}first", b"1"), Get(f"{prefix}first"))
    result = store.transact_soon(Txn((), success, many=many(prefix, 1000))).result(10.0)
    assert [item.value for item in result.answers[1]] == [b"1"]
    assert len(store.list(f"{prefix}many/").items) == 1000


def test_keys_and_values_are_bytes_like_any_others(store: AnyStore, prefix: str) -> None:
    values: dict[str, bytes | None] = {"": b"", "ä/ö": b"\x00\xff", "x" * 300: b"y" * 20_000, "\n": b"[1]"}
    store.transact(Txn((), (), many=PutMany(f"{prefix}ü/", values)))
    found = {each.key.removeprefix(f"{prefix}ü/"): each.value for each in store.list(f"{prefix}ü/").items}
    assert found == values


def test_4096_operations_fit_and_no_more(store: AnyStore, prefix: str) -> None:
    """64 transactions of 64 inside one. Nothing of what is refused was done."""
    store.transact(Txn((), (Put(f"{prefix}first", b"1"),), many=many(prefix, 4095)))
    with pytest.raises(TooManyOperations):
        store.transact(Txn((), (Put(f"{prefix}first", b"2"),), many=many(prefix, 4096)))
    first = store.get(f"{prefix}first")
    assert first is not None
    assert first.value == b"1"


def test_more_bytes_than_a_request_may_have(store: AnyStore, prefix: str) -> None:
    """With a little more than etcd takes, and with so much that gRPC refuses it before etcd sees it."""
    store.transact(Txn((), (), many=many(prefix, 1000, b"x" * 1_000)))
    for size in (1_600, 2_500):
        with pytest.raises(RequestTooLarge) as caught:
            store.transact(Txn((), (), many=many(prefix, 1000, b"x" * size)))
        assert not isinstance(caught.value, TooManyOperations)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("other", [Put, Delete])
def test_no_key_is_written_twice(store: AnyStore, prefix: str, count: int, other: type[Put | Delete]) -> None:
    """Neither beside the others nor among them."""
    key = f"{prefix}many/{count - 1:05d}"
    twice = Put(key, b"2") if other is Put else Delete(key)
    with pytest.raises(Refused, match="duplicate"):
        store.transact(Txn((), (twice,), many=many(prefix, count)))
