"""Which versions of etcd are good enough, and what a server's status becomes."""

from __future__ import annotations

from typing import Any

import pytest

from partition_workers.errors import Denied, Unavailable
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.status import SilentServer, server_status, version_warning
from partition_workers.etcd.store import ServerStatus


@pytest.mark.parametrize(
    "version", ["3.5.28", "3.5.33", "3.6.9", "3.6.16", "3.7.0", "3.7.0-rc.1", "v3.6.10", "4.0.0", "3.10.0"]
)
def test_repaired_versions_pass(version: str) -> None:
    """3.5.28, 3.6.9, everything newer, and the lines after them."""
    assert version_warning(version) is None


@pytest.mark.parametrize("version", ["3.5.27", "3.5.1", "3.6.8", "3.6.0", "3.4.44", "3.3.10", "2.3.8"])
def test_older_versions_are_warned_of(version: str) -> None:
    """The warning names the version and the reason in one sentence."""
    warning = version_warning(version)
    assert warning is not None
    assert version in warning
    assert "stale" in warning
    assert "delete events" in warning


@pytest.mark.parametrize("version", ["", "not-decided", "3.6"])
def test_an_unreadable_version_is_warned_of(version: str) -> None:
    """What we cannot judge is said."""
    assert repr(version) in (version_warning(version) or "")


def test_a_status_has_the_alarms_of_its_own_member() -> None:
    """Alarms are listed for the whole cluster; each server shows its own, unknown ones by number."""
    answers: dict[str, Any] = {
        "Status": rpc.StatusResponse(version="3.6.16", dbSize=5),
        "Alarm": rpc.AlarmResponse(),
    }
    answers["Status"].header.member_id = 1
    answers["Status"].header.cluster_id = 9
    for member, alarm in ((1, 1), (2, 1), (1, 2), (1, 77)):
        answers["Alarm"].alarms.add(memberID=member, alarm=alarm)
    status = server_status(lambda method, _request: answers[method], "a:1")
    assert status == ServerStatus("a:1", "3.6.16", 9, 5, ("NOSPACE", "CORRUPT", "77"))


def test_a_server_that_cannot_be_asked_says_why() -> None:
    """The error's text is kept beside the endpoint."""

    def ask(_method: str, _request: Any) -> Any:
        raise Unavailable("nobody there")

    assert server_status(ask, "a:1") == SilentServer("a:1", "nobody there")


def test_a_server_that_does_not_let_us_in_is_not_one_that_is_away() -> None:
    def ask(_method: str, _request: Any) -> Any:
        raise Denied("wants a user")

    assert server_status(ask, "a:1") == SilentServer("a:1", "wants a user", is_denied=True)
