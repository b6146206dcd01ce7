"""What an etcd server says of itself, and whether it is one to rely on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from partition_workers.errors import Denied, PartitionSupervisorError
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.store import ServerStatus

_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}

#: Numbers of fields in StatusResponse that are newer than the messages of etcd3 0.12.
_IS_LEARNER, _QUOTA = 10, 12

#: The first sound patch of each line that was repaired; lines after these are sound from their start.
_SOUND = {(3, 5): 28, (3, 6): 9}


@dataclass(frozen=True, slots=True)
class SilentServer:
    """An endpoint that could not be asked for its status, and why. `is_denied`: it does not let us in."""

    endpoint: str
    error: str
    is_denied: bool = False


def server_status(ask: Callable[[str, Any], Any], endpoint: str) -> ServerStatus | SilentServer:
    """What one server says; `ask(method, request)` makes a call to it."""
    try:
        answer = ask("Status", rpc.StatusRequest())
        alarms = ask("Alarm", rpc.AlarmRequest(action=rpc.AlarmRequest.GET)).alarms
    except PartitionSupervisorError as error:
        return SilentServer(endpoint, str(error), isinstance(error, Denied))
    header = answer.header
    own = tuple(alarm_name(each.alarm) for each in alarms if each.memberID == header.member_id)
    newer = _newer_fields(answer)
    return ServerStatus(
        endpoint, answer.version, header.cluster_id, answer.dbSize, own, leader=answer.leader,
        raft_index=answer.raftIndex, is_learner=bool(newer.get(_IS_LEARNER)), quota_bytes=newer.get(_QUOTA, 0),
    )  # fmt: skip


def alarm_name(number: int) -> str:
    return _ALARMS.get(number, str(number))


def _newer_fields(message: Any) -> dict[int, int]:
    """The numbers in fields that our messages do not know, by the number of the field."""
    fields = UnknownFieldSet(message)
    found = (fields[index] for index in range(len(fields)))
    return {each.field_number: each.data for each in found if each.wire_type == 0}


def version_warning(version: str) -> str | None:
    """One sentence for people when this etcd's promises are known to be broken, else None."""
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        return f"cannot tell whether etcd {version!r} is recent enough: 3.5.28, 3.6.9 or newer is needed"
    major, minor, patch = map(int, numbers.groups())
    if (major, minor) > max(_SOUND) or patch >= _SOUND.get((major, minor), patch + 1):
        return None
    return (
        f"etcd {version} is older than 3.5.28 / 3.6.9: after one of its members was paused it may answer"
        " linearizable reads with stale values, and older ones also lose delete events of a watch; upgrade it"
    )
