"""Is the group alike on all hosts, with places enough, clocks that agree, and nothing that nobody backs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from partition_supervisor.admin.check.findings import Finding, not_ok, ok, warning
from partition_supervisor.admin.group_documents import Documents
from partition_supervisor.group_settings import differences
from partition_workers.layout.documents import Host

#: Seconds that a document may be newer than our own clock.
SKEW = 2.0


def group(found: Documents, partitions: int, now: datetime) -> Iterator[Finding]:
    """`partitions`: how many the topics have, 0 when Kafka does not say."""
    hosts = found.cluster.hosts
    if not hosts:
        yield ok("group.hosts", "no supervisor runs yet")
    else:
        yield from _hosts(hosts, partitions)
    for partition, parked in sorted(found.cluster.parked.items()):
        yield warning("group.parked", f"{partition} is parked: {parked.reason}",
                      f"when the reason is gone: partition-supervisor resume '{partition}'")  # fmt: skip
    for partition, held in sorted(found.cluster.locks.items()):
        if hosts and held.lock.host not in hosts:
            yield not_ok(
                "group.lock", f"{partition} is locked by {held.lock.host}, which is not there",
                "if it stays: its lease ends by itself; a lock without a lease was written by hand, delete that key",
            )  # fmt: skip
    for foreign in sorted((*found.cluster.foreign.values(), *found.foreign), key=lambda each: each.key):
        yield not_ok("group.foreign", f"in etcd: {foreign.shown} {foreign.why}", f"to remove it: {foreign.command}")
    yield from _clocks(found, now)


def _hosts(hosts: Mapping[str, Host], partitions: int) -> Iterator[Finding]:
    versions = {name: host.version for name, host in sorted(hosts.items())}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield warning("group.versions", f"hosts run different versions: {told}", "finish the upgrade")
    places = sum(host.workers or partitions for host in hosts.values())
    if partitions and places < partitions:
        yield not_ok("group.places", f"{places} places for {partitions} partitions: some have no owner",
                     f"add {partitions - places} with --workers, or another host")  # fmt: skip
    elif partitions and places < 2 * partitions:
        yield warning("group.places", f"{places} places for {partitions} partitions: some have no standby",
                      f"add {2 * partitions - places} with --workers, or another host")  # fmt: skip
    else:
        yield ok("group.places", f"{len(hosts)} hosts with {places} places for {partitions} partitions")
    for each in differences(hosts):
        yield warning("group.settings", f"hosts differ: {each}", "start all hosts of a group alike")
    for name, host in sorted(hosts.items()):
        if not host.able:
            yield warning("group.able", f"{name} is given no partitions: {host.unable_because}",
                          "look at its log, and at its way to etcd and to Kafka")  # fmt: skip
    if len(hosts) == 1:
        yield warning("group.hosts", "one host: nobody goes on when it dies", "start a supervisor on another one")


def _clocks(found: Documents, now: datetime) -> Iterator[Finding]:
    """A time of a document that is yet to come was written by a clock that is ahead of ours, or ours is behind."""
    ahead: dict[str, float] = {}
    for held in found.cluster.locks.values():
        seconds = _seconds(held.lock.since, now)
        ahead[held.lock.host] = max(ahead.get(held.lock.host, 0.0), seconds)
    for host, document in found.cluster.hosts.items():
        ahead[host] = max(ahead.get(host, 0.0), _seconds(document.started, now))
    for host, seconds in sorted(ahead.items()):
        if seconds > SKEW:
            yield warning("group.clock", f"the clock of {host} is {seconds:,.0f} s ahead of this machine's",
                          "run NTP on both; only times that people read depend on it")  # fmt: skip


def _seconds(written: str, now: datetime) -> float:
    try:
        return (datetime.fromisoformat(written) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def clock() -> datetime:
    return datetime.now(UTC)
