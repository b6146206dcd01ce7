"""Transactions written as bytes are those that protobuf would write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.etcd import bulk
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.store import Compare, Delete, Get, Put, PutMany, Target, Txn
from partition_workers.etcd.wire import txn_request, txn_result

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.none() | st.binary(max_size=300) | st.sampled_from([b"x" * 127, b"x" * 128, b"x" * 20_000])


def leaves(operations: Any) -> list[Any]:
    """In order, however deep."""
    return [
        leaf
        for each in operations
        for leaf in (leaves(each.request_txn.success) if each.HasField("request_txn") else [each])
    ]


def depth(operations: Any) -> int:
    return 1 + max(
        (depth(each.request_txn.success) for each in operations if each.HasField("request_txn")), default=0
    )


@given(prefix=TEXT, values=st.dictionaries(TEXT, VALUES, max_size=300), first=st.integers(0, 3))
def test_the_operations_are_those_of_the_same_transaction_one_by_one(
    prefix: str, values: dict[str, bytes | None], first: int
) -> None:
    """Field by field, in their order; the comparisons and the other branch beside them."""
    compare = (Compare("/lock", Target.MOD_REVISION, 17),)
    others = (Put("/offset", b"5", lease=7), Get("/history/", prefix=True), Delete("/standby"))[:first]
    single = tuple(
        Delete(prefix + key) if value is None else Put(prefix + key, value) for key, value in values.items()
    )
    together = txn_request(Txn(compare, others, (Get("/lock"),), many=PutMany(prefix, values)))
    plain = txn_request(Txn(compare, (*others, *single), (Get("/lock"),)))
    assert leaves(together.success) == list(plain.success)
    assert list(together.compare) == list(plain.compare)
    assert list(together.failure) == list(plain.failure)
    if len(values) + first <= bulk.FLAT:
        assert together == plain


@pytest.mark.parametrize("count", [1, 127, 128, 129, 1000, 4000, 4095])
def test_they_are_nested_as_far_as_the_defaults_of_etcd_go(count: int) -> None:
    """What a level does not use of 128 holds inside of it."""
    request = txn_request(Txn((), (Put("/offset", b"1"),), many=PutMany("/p/", {f"{n}": b"1" for n in range(count)})))
    assert len(leaves(request.success)) == count + 1
    if count + 1 <= 128:
        assert depth(request.success) == 1
    else:
        inner = max(len(each.request_txn.success) for each in request.success)
        assert depth(request.success) == 2
        assert inner + len(request.success) <= 128


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16_383, 16_384, 2**21, 2**31])
def test_numbers_are_written_as_protobuf_does(number: int) -> None:
    """Lengths are numbers of this kind."""
    assert b"\x18" + bulk.varint(number) == (rpc.PutRequest(lease=number).SerializeToString() or b"\x18\x00")


@pytest.mark.parametrize("count", [3, 300])
def test_answers_are_those_of_the_first_operations(count: int) -> None:
    """Wherever the others were put."""
    txn = Txn((), (Put("/a", b""), Get("/a")), many=PutMany("/p/", {f"{n}": b"1" for n in range(count)}))
    answer = rpc.TxnResponse(succeeded=True)
    answer.header.revision = 9

    def respond(operations: Any, responses: Any) -> None:
        for each in operations:
            response = responses.add()
            if each.HasField("request_txn"):
                respond(each.request_txn.success, response.response_txn.responses)
            elif each.HasField("request_range"):
                response.response_range.kvs.add(key=b"/a", value=b"found")
            else:
                response.response_put.SetInParent()

    respond(txn_request(txn).success, answer.responses)
    result = txn_result(answer, txn)
    assert (result.succeeded, result.revision) == (True, 9)
    assert [[item.value for item in each] for each in result.answers] == [[], [b"found"]]
