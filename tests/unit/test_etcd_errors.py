"""What becomes of gRPC's errors, and of the reasons for which a watch is ended."""

from __future__ import annotations

import grpc
import pytest

from partition_workers.errors import (
    Compacted,
    Denied,
    LeaseGone,
    NoSpace,
    PartitionSupervisorError,
    Refused,
    RequestTooLarge,
    Retry,
    TooLarge,
    TooManyOperations,
    Unavailable,
)
from partition_workers.etcd.grpc_errors import (
    MEANINGS,
    LeaseExists,
    LoginNotNeeded,
    Silent,
    StaleToken,
    translate,
    translate_cancelled_watch,
)
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.wire import prefix_end

Code = grpc.StatusCode


class FakeRpcError(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


def translated(code: grpc.StatusCode, details: str | None) -> PartitionSupervisorError:
    return translate(FakeRpcError(code, details), "Txn", "host:2379", revision=7)


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", Silent),
        (Code.UNAVAILABLE, "failed to connect to all addresses", Unavailable),
        (Code.UNAVAILABLE, "etcdserver: no leader", Unavailable),
        (Code.UNAVAILABLE, "etcdserver: request timed out", Unavailable),
        (Code.UNAVAILABLE, None, Unavailable),
        (Code.CANCELLED, "Channel closed!", Unavailable),
        (Code.ABORTED, "", Unavailable),
        (Code.INTERNAL, "Received RST_STREAM with error code 2", Unavailable),
        (Code.UNKNOWN, "Stream removed", Unavailable),
        (Code.UNKNOWN, "not a primary lessor", Unavailable),
        (Code.UNKNOWN, "raft proposal dropped", Unavailable),
        (Code.UNKNOWN, "context deadline exceeded", Unavailable),
        (Code.UNAVAILABLE, "etcdserver: leader changed", Unavailable),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Unavailable),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", NoSpace),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max", RequestTooLarge),
        (Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max", Refused),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", LeaseGone),
        (Code.FAILED_PRECONDITION, "etcdserver: lease already exists", LeaseExists),
        (Code.FAILED_PRECONDITION, "etcdserver: authentication is not enabled", LoginNotNeeded),
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", Refused),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", StaleToken),
        (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", StaleToken),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", StaleToken),
        (Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", Refused),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", RequestTooLarge),
        (Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", TooManyOperations),
        (Code.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", Denied),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Denied),
        (Code.PERMISSION_DENIED, "Received http2 header with status: 403", Denied),
        (Code.UNAUTHENTICATED, "Received http2 header with status: 401", StaleToken),
        (Code.INTERNAL, "Exception deserializing response!", Unavailable),
        (Code.UNKNOWN, "", Unavailable),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Unavailable),
        (Code.UNIMPLEMENTED, "Received http2 header with status: 404", Unavailable),
        (Code.DATA_LOSS, "", Unavailable),
        (Code.RESOURCE_EXHAUSTED, "rate limited", Unavailable),
        (Code.UNAVAILABLE, "etcdserver: rpc not supported for learner", Unavailable),
        (Code.FAILED_PRECONDITION, "etcdserver: rpc not supported for learner", Unavailable),
    ],
)
def test_each_error_has_its_meaning(
    code: grpc.StatusCode, details: str | None, expected: type[PartitionSupervisorError]
) -> None:
    """An error becomes what the reader should do about it, whatever code it comes under."""
    assert type(translated(code, details)) is expected


@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("words", ["", None, "upstream connect error", "etcdserver: something that is new"])
@pytest.mark.parametrize("method", ["Txn", "Range", "Watch", "LeaseKeepAlive", "LeaseGrant", "Authenticate"])
def test_no_code_is_unknown(code: grpc.StatusCode, words: str | None, method: str) -> None:
    """Whatever stands before etcd: the call is tried again, or it is the call that is wrong."""
    assert code in MEANINGS
    error = translate(FakeRpcError(code, words), method, "host:2379")
    wrong_call = (
        set()
        if words is None or "etcdserver" not in words
        else {
            Code.INVALID_ARGUMENT,
            Code.NOT_FOUND,
            Code.ALREADY_EXISTS,
            Code.FAILED_PRECONDITION,
            Code.OUT_OF_RANGE,
        }
    )
    assert isinstance(error, Refused if code in wrong_call else Retry)


def test_a_refusal_says_who_refused_what_and_why() -> None:
    """The server's own words, the method and the endpoint stand in the text."""
    text = str(translated(Code.PERMISSION_DENIED, "etcdserver: permission denied"))
    for part in ("host:2379", "Txn", "etcdserver: permission denied"):
        assert part in text


def test_an_unavailable_server_is_named() -> None:
    """Who did not answer stands in the text, also when gRPC says nothing more."""
    for code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
        assert "host:2379" in str(translated(code, None))


def test_an_answer_that_is_too_large_is_asked_for_in_smaller_parts() -> None:
    """It is something else than a transaction that is too large, though both are refused in the same words."""
    error = FakeRpcError(Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (5000000 vs. 4194304)")
    assert type(translate(error, "Range", "host:2379")) is TooLarge
    assert type(translate(error, "Txn", "host:2379")) is RequestTooLarge


def test_a_member_that_is_behind_is_no_reason_to_end() -> None:
    """A page of a revision that it has not heard of is to be had elsewhere; to compact such a one is an error."""
    error = FakeRpcError(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
    assert type(translate(error, "Range", "host:2379", 7)) is Unavailable
    assert type(translate(error, "Compact", "host:2379", 7)) is Refused


def test_a_compacted_read_names_the_revision_asked_for() -> None:
    """etcd does not say up to where it compacted: what was asked for is a safe answer."""
    error = translated(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
    assert isinstance(error, Compacted)
    assert error.revision == 7


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"canceled": True, "compact_revision": 40}, Compacted),
        ({"canceled": True, "created": True, "cancel_reason": "etcdserver: permission denied"}, Denied),
        (
            {"canceled": True, "created": True, "cancel_reason": "rpc error: code = PermissionDenied"},
            Denied,
        ),
        ({"canceled": True, "created": True, "cancel_reason": "etcdserver: invalid auth token"}, StaleToken),
        ({"canceled": True, "cancel_reason": "etcdserver: no leader"}, Unavailable),
        ({"canceled": True}, Unavailable),
    ],
)
def test_a_cancelled_watch_says_why(answer: dict[str, object], expected: type[PartitionSupervisorError]) -> None:
    """A missing right is another state than a member that is unwell: to ask the next one does not help."""
    assert type(translate_cancelled_watch(rpc.WatchResponse(**answer), "host:2379")) is expected


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a", b"b"), (b"/x/", b"/x0"), (b"a\xff\xff", b"b"), (b"\xff", b"\0"), (b"", b"\0")]
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    """It is the first key that does not begin with the prefix any more."""
    assert prefix_end(prefix) == end
