"""What etcd's refusals mean, and those of whatever stands before it. One table, of codes; and of words, where a code
says too little. Pure functions.

No answer ends a process. A gateway that restarts says UNIMPLEMENTED or INTERNAL for some seconds, a learner refuses
everything, rights are edited, passwords change: each is over some time later. What differs is only whom to ask next,
and whether the same call may be accepted then:

- *elsewhere* (Unavailable): nobody knows whether it was done; the next endpoint is asked;
- *denied* (Denied): we may not, now; a person can change that, so it is tried again, at the same place;
- *refused* (Refused): etcd itself says that the call is wrong, and would be everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import grpc

from partition_workers.errors import (
    Compacted,
    Denied,
    LeaseGone,
    NoSpace,
    PartitionSupervisorError,
    Refused,
    RequestTooLarge,
    TooLarge,
    TooManyOperations,
    Unavailable,
)


class Silent(Unavailable):
    """Raised when a server let a deadline pass: whatever else is open to it may be dead too."""


class StaleToken(Denied):
    """Raised when etcd does not accept our auth token (any more): it has not looked at the call itself."""


class LoginNotNeeded(Refused):
    """Raised when we log in to an etcd that asks nobody for a name."""


class LeaseExists(Refused):
    """Raised when the lease id asked for is taken: by ourselves, if an earlier answer was lost."""


class Meaning(Enum):
    """What a code says when its words are not known."""

    SILENT = auto()
    ELSEWHERE = auto()
    STALE_TOKEN = auto()
    DENIED = auto()
    REFUSED = auto()


_Code = grpc.StatusCode

#: Every code that gRPC has. OK stands here for an error that says that it is none.
MEANINGS: Mapping[grpc.StatusCode, Meaning] = {
    _Code.OK: Meaning.ELSEWHERE,
    _Code.CANCELLED: Meaning.ELSEWHERE,
    _Code.UNKNOWN: Meaning.ELSEWHERE,
    _Code.INVALID_ARGUMENT: Meaning.REFUSED,
    _Code.DEADLINE_EXCEEDED: Meaning.SILENT,
    _Code.NOT_FOUND: Meaning.REFUSED,
    _Code.ALREADY_EXISTS: Meaning.REFUSED,
    _Code.PERMISSION_DENIED: Meaning.DENIED,
    _Code.RESOURCE_EXHAUSTED: Meaning.ELSEWHERE,
    _Code.FAILED_PRECONDITION: Meaning.REFUSED,
    _Code.ABORTED: Meaning.ELSEWHERE,
    _Code.OUT_OF_RANGE: Meaning.REFUSED,
    _Code.UNIMPLEMENTED: Meaning.ELSEWHERE,
    _Code.INTERNAL: Meaning.ELSEWHERE,
    _Code.UNAVAILABLE: Meaning.ELSEWHERE,
    _Code.DATA_LOSS: Meaning.ELSEWHERE,
    _Code.UNAUTHENTICATED: Meaning.STALE_TOKEN,
}

#: Said under codes that mean something else, by etcd or by gRPC on its behalf. The first that is found counts.
_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("invalid auth token", Meaning.STALE_TOKEN),
    ("auth store is old", Meaning.STALE_TOKEN),
    ("user name is empty", Meaning.STALE_TOKEN),
    ("authentication failed", Meaning.DENIED),
    ("permission denied", Meaning.DENIED),
    ("not supported for learner", Meaning.ELSEWHERE),
    ("not a primary lessor", Meaning.ELSEWHERE),
    ("leader changed", Meaning.ELSEWHERE),
    ("raft proposal dropped", Meaning.ELSEWHERE),
    ("server stopped", Meaning.ELSEWHERE),
    ("context canceled", Meaning.ELSEWHERE),
    ("context deadline exceeded", Meaning.ELSEWHERE),
    ("rst_stream", Meaning.ELSEWHERE),
    ("rst stream", Meaning.ELSEWHERE),
    ("stream removed", Meaning.ELSEWHERE),
)


#: In every refusal of etcd itself.
_ETCDS_OWN = "etcdserver: "


def translate(error: grpc.RpcError, method: str, endpoint: str, revision: int = 0) -> PartitionSupervisorError:
    """Our error for gRPC's. `revision` is the one that was asked for, to be named if it is compacted."""
    code, details = error.code(), error.details() or ""
    words = details.lower()
    if code is _Code.RESOURCE_EXHAUSTED and "database space exceeded" in words:
        return NoSpace(f"etcd at {endpoint} takes no more writes, its database quota is used up: {details}")
    if code is _Code.RESOURCE_EXHAUSTED and "larger than max" in words:
        if method == "Range":
            return TooLarge(f"etcd at {endpoint}, or something on the way to it, does not send so much: {details}")
        if "grpc: received" not in words:  # it was the answer
            return Refused(_refusal(endpoint, method, f"{details} ({code.name})"))
    if "request is too large" in words or "larger than max" in words:
        return RequestTooLarge(_refusal(endpoint, method, f"{details} (its --max-request-bytes)"))
    if "too many operations" in words:
        return TooManyOperations(_refusal(endpoint, method, f"{details} (its --max-txn-ops)"))
    if code is _Code.NOT_FOUND and "requested lease not found" in words:
        return LeaseGone(f"etcd at {endpoint} does not know the lease named in {method}")
    if code is _Code.OUT_OF_RANGE and "compacted" in words:
        return Compacted(revision)
    if code is _Code.OUT_OF_RANGE and method == "Range" and "future revision" in words:
        return Unavailable(f"etcd at {endpoint} has not heard of revision {revision} yet")
    if "authentication is not enabled" in words:
        return LoginNotNeeded(_refusal(endpoint, method, details))
    if "lease already exists" in words:
        return LeaseExists(_refusal(endpoint, method, details))
    match _meaning(code, words):
        case Meaning.SILENT:
            return Silent(f"etcd at {endpoint} did not answer {method} in time")
        case Meaning.STALE_TOKEN:
            return StaleToken(_refusal(endpoint, method, details))
        case Meaning.DENIED:
            return Denied(_refusal(endpoint, method, f"{details} ({code.name})"))
        case Meaning.REFUSED:
            return Refused(_refusal(endpoint, method, f"{details} ({code.name})"))
        case _:
            return Unavailable(f"etcd at {endpoint} did not answer {method}: {_named(code, details)}")


def translate_cancelled_watch(answer: Any, endpoint: str) -> PartitionSupervisorError:
    """Why etcd ended a watch: lost history, a token or a permission it did not like, or a passing state."""
    reason = answer.cancel_reason
    if answer.compact_revision:
        return Compacted(answer.compact_revision)
    words = reason.lower().replace("permissiondenied", "permission denied")
    match _meaning(_Code.UNAVAILABLE, words):
        case Meaning.STALE_TOKEN:
            return StaleToken(_refusal(endpoint, "Watch", reason))
        case Meaning.DENIED:
            return Denied(_refusal(endpoint, "Watch", reason))
        case _:
            return Unavailable(f"etcd at {endpoint} ended a watch: {reason or 'no reason given'}")


def _meaning(code: grpc.StatusCode, words: str) -> Meaning:
    # A code of a later gRPC would be new to us: whoever sent it is not somebody we can talk to.
    by_code = MEANINGS.get(code, Meaning.ELSEWHERE)
    if by_code is Meaning.SILENT:
        return by_code
    if by_code is Meaning.REFUSED and _ETCDS_OWN not in words:
        return Meaning.ELSEWHERE  # said by something that knows no calls of etcd
    return next((meaning for said, meaning in _WORDS if said in words), by_code)


def _named(code: grpc.StatusCode, details: str) -> str:
    """gRPC's words, with the code where that is not the usual one."""
    if not details or code is _Code.UNAVAILABLE:
        return details or code.name
    return f"{details} ({code.name})"


def _refusal(endpoint: str, method: str, why: str) -> str:
    return f"etcd at {endpoint} refused {method}: {why}"
