"""Is etcd fit for this: its members, their versions and alarms, the time of a write, and whether it forgets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from partition_supervisor.admin.check.findings import Finding, not_ok, ok, warning
from partition_workers.errors import Compacted, NoSpace, PartitionSupervisorError
from partition_workers.etcd.status import SilentServer, version_warning
from partition_workers.etcd.store import Delete, Put, ServerStatus, Store, Txn
from partition_workers.layout.keys import Keys

#: Milliseconds of a write: a takeover takes some five of them. With more than the second nothing is quick.
SLOW, TOO_SLOW = 25.0, 250.0
WRITES = 7
#: Bytes: etcd's default quota, and the part of it at which there is still time to act.
DEFAULT_QUOTA, ENOUGH = 2 * 2**30, 0.8
#: Revisions that etcd keeps: half an hour of 64 partitions with 10 commits a second is 1.15 million.
MANY_REVISIONS = 1_000_000
#: Entries of the log that a member may be behind the others.
BEHIND = 5_000
#: Seconds: an election takes one to three at etcd's default of 1 s.
SHORT_TTL = 3


@dataclass(frozen=True, slots=True)
class Written:
    """Milliseconds of each write, and the newest revision."""

    milliseconds: tuple[float, ...]
    revision: int


def servers(found: Sequence[ServerStatus | SilentServer]) -> Iterator[Finding]:
    """The judgement of what the endpoints say of themselves."""
    answering = [each for each in found if isinstance(each, ServerStatus)]
    silent = [each for each in found if isinstance(each, SilentServer)]
    if len(answering) * 2 <= len(found):
        yield not_ok("etcd.reachable", f"{len(answering)} of {len(found)} endpoints answer", _silent(silent))
    elif silent:
        yield warning("etcd.reachable", f"{len(answering)} of {len(found)} endpoints answer", _silent(silent))
    else:
        yield ok("etcd.reachable", f"all {len(found)} endpoints answer")
    if not answering:
        return
    if len({each.cluster_id for each in answering}) > 1:
        told = ", ".join(f"{each.endpoint} is of {each.cluster_id:x}" for each in answering)
        yield not_ok(
            "etcd.cluster", f"the endpoints are of different clusters: {told}", "give the members of one cluster"
        )
    if len(found) < 3:
        given = "one endpoint is given" if len(found) == 1 else f"{len(found)} endpoints are given"
        fix = "give all members of a cluster of three: whoever knows one member stops when that does"
        yield warning("etcd.members", given, fix)
    for each in answering:
        yield from _server(each, max(other.raft_index for other in answering))


def _silent(silent: Sequence[SilentServer]) -> str:
    """Why they do not answer, and what may help."""
    why = "; ".join(
        each.error if each.endpoint in each.error else f"{each.endpoint}: {each.error}" for each in silent
    )
    if all(each.is_denied for each in silent):
        return f"{why}. Give --etcd-user and --etcd-password-file as etcd has them"
    return f"{why}. Is it running? Is --etcd-endpoints right?"


def _server(server: ServerStatus, newest: int) -> Iterator[Finding]:
    where = server.endpoint
    if too_old := version_warning(server.version):
        yield warning("etcd.version", f"{where}: {too_old}", "upgrade it, member by member")
    else:
        yield ok("etcd.version", f"{where}: {server.version}")
    for alarm in server.alarms:
        fix = (
            "compact, `etcdctl defrag` each member, then `etcdctl alarm disarm`; raise --quota-backend-bytes"
            if alarm == "NOSPACE" else "stop using this member: remove it and add a new one"
        )  # fmt: skip
        yield not_ok("etcd.alarm", f"{where}: alarm {alarm}", fix)
    if server.is_learner:
        yield not_ok(
            "etcd.learner", f"{where}: is a learner and refuses most calls", "leave it out until it is promoted"
        )
    if not server.leader:
        yield not_ok("etcd.leader", f"{where}: knows no leader", "look at its connections to the other members")
    if newest - server.raft_index > BEHIND:
        yield warning("etcd.behind", f"{where}: {newest - server.raft_index:,} entries behind the others",
                      "look at its disk and its network; leave it out until it has caught up")  # fmt: skip
    quota = server.quota_bytes or DEFAULT_QUOTA
    if server.db_bytes > ENOUGH * quota:
        words = f"{where}: the database has {_mb(server.db_bytes)} of {_mb(quota)}"
        words += "" if server.quota_bytes else ", if the quota is etcd's default"
        yield warning("etcd.quota", words, "compact and defrag, or raise --quota-backend-bytes")


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def measure(store: Store, keys: Keys) -> Written:
    """Some writes below our own root, taken away again. Raises PartitionSupervisorError."""
    key = f"{keys.root}/check"
    times: list[float] = []
    revision = 0
    try:
        for _ in range(WRITES):
            begun = time.perf_counter()
            revision = store.transact(Txn((), (Put(key, b"{}"),))).revision
            times.append((time.perf_counter() - begun) * 1000)
    finally:
        store.transact(Txn((), (Delete(key),)))
    return Written(tuple(times), revision)


def writes(written: Written | PartitionSupervisorError) -> Finding:
    if isinstance(written, NoSpace):
        return not_ok("etcd.write", "nothing can be written: NOSPACE", "make space, then `etcdctl alarm disarm`")
    if isinstance(written, PartitionSupervisorError):
        return not_ok("etcd.write", f"a write fails: {written}",
                      "if it is refused, grant the user readwrite on the group's prefix")  # fmt: skip
    middle = statistics.median(written.milliseconds)
    words = f"a write takes {middle:.1f} ms, at most {max(written.milliseconds):.1f}"
    if middle > TOO_SLOW:
        return not_ok("etcd.write", words, "no failover is quick on it: faster disks, members nearby")
    if middle > SLOW:
        return warning("etcd.write", words, "a takeover takes some five writes; etcd wants fast disks (fsync) nearby")
    return ok("etcd.write", words)


def oldest_revision(store: Store, keys: Keys, newest: int) -> int:
    """Where etcd's memory begins; 1 if it was never compacted. Some twenty reads of a key that is not there, by
    halves: a watch from the first revision on would have etcd read everything since."""
    first, last = 1, newest
    while first < last:
        middle = (first + last) // 2
        try:
            store.page(f"{keys.root}/check", limit=1, revision=middle)
            last = middle
        except Compacted:
            first = middle + 1
    return first


def memory(oldest: int, newest: int) -> Finding:
    kept = newest - oldest
    words = f"etcd keeps {kept:,} revisions; each commit is one"
    fix = "start its members with --auto-compaction-mode=periodic --auto-compaction-retention=5m"
    return warning("etcd.compaction", words, fix) if kept > MANY_REVISIONS else ok("etcd.compaction", words)


def lease(ttl: int) -> Finding:
    if ttl < SHORT_TTL:
        return warning("etcd.lease", f"--lease-ttl {ttl}: an election of etcd's leader takes 1 to 3 s",
                       "use 5 s, unless its election timeout is shorter than the default")  # fmt: skip
    return ok("etcd.lease", f"--lease-ttl {ttl}")
