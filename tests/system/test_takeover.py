"""Whatever dies, a standby goes on at exactly the next record. On real processes, with a producer running."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_workers.etcd.store import Delete, Txn
from partition_workers.layout.documents import Lock, milliseconds, now
from partition_workers.model import Partition
from tests.conftest import MakeCluster
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(120)


def assert_nothing_was_lost(cluster: DemoCluster) -> None:
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad


def has_new_owner(cluster: DemoCluster, partition: Partition, before: int) -> Callable[[], bool]:
    return lambda: cluster.judge.tokens().get(partition, 0) > before


def start(make_cluster: MakeCluster, options: tuple[str, ...] = (), **settings: object) -> DemoCluster:
    cluster = make_cluster(
        options=(*options, "--rebalance-delay", "3600"), **settings
    )  # nothing moves but for a fault
    cluster.start()
    cluster.load.start()
    eventually(
        "records are committed", lambda: len(cluster.judge.offsets()) == 4 and all(cluster.judge.offsets().values())
    )
    return cluster


def owns_everything(cluster: DemoCluster, host: str) -> bool:
    return [lock.host for lock in cluster.judge.owners().values()] == [host] * 4


def any_owner(cluster: DemoCluster) -> tuple[Partition, Lock, int]:
    owners, tokens = cluster.judge.owners_and_tokens()
    partition, lock = min(owners.items())
    return partition, lock, tokens[partition]


@pytest.mark.parametrize("interval", ["0.1", "0"])
def test_a_killed_owner_is_replaced_by_a_standby_on_another_host(make_cluster: MakeCluster, interval: str) -> None:
    """kill -9 of owners, one after the other: the other host goes on at the next record."""
    cluster = start(make_cluster, options=("--commit-interval", interval), rate=400.0)

    for _ in range(6):
        partition, lock, token = any_owner(cluster)
        os.kill(lock.pid, signal.SIGKILL)
        eventually("the partition has another owner", has_new_owner(cluster, partition, token))
        assert cluster.judge.owners()[partition].host != lock.host
        cluster.wait_until_complete()

    assert_nothing_was_lost(cluster)


def test_a_single_host_replaces_its_own_worker(make_cluster: MakeCluster) -> None:
    """Without any standby the replacement itself becomes the owner."""
    cluster = start(make_cluster, hosts=("only",))

    partition, lock, token = any_owner(cluster)
    os.kill(lock.pid, signal.SIGKILL)

    eventually("the partition has another owner", has_new_owner(cluster, partition, token))
    assert_nothing_was_lost(cluster)


def test_a_killed_host_is_taken_over_at_once(make_cluster: MakeCluster) -> None:
    """Supervisor and workers together: their kernel tells the other host. No lease ends during this test."""
    cluster = start(make_cluster, options=("--lease-ttl", "60"))
    _, lock, _ = any_owner(cluster)
    (other,) = cluster.hosts.keys() - {lock.host}
    owned = {partition for partition, each in cluster.judge.owners().items() if each.host == lock.host}

    cluster.hosts[lock.host].kill()

    eventually(f"{other} owns everything", lambda: owns_everything(cluster, other), deadline=3.0)
    eventually("it says how it came to that", lambda: all(
        cluster.judge.history(partition)[-1].cause == "taken-over" for partition in owned
    ))  # fmt: skip
    assert_nothing_was_lost(cluster)


def test_a_host_that_cannot_tell_of_its_death_is_taken_over_when_its_leases_end(make_cluster: MakeCluster) -> None:
    """As without power: within the lease's time and a second."""
    cluster = start(make_cluster, options=("--lease-ttl", "2", "--listen", "none"))
    _, lock, _ = any_owner(cluster)
    (other,) = cluster.hosts.keys() - {lock.host}

    cluster.hosts[lock.host].kill()

    eventually(f"{other} owns everything", lambda: owns_everything(cluster, other), deadline=2 + 0.5 + 3.0)
    cluster.hosts[lock.host].start()
    cluster.wait_until_complete()
    assert_nothing_was_lost(cluster)


def test_workers_of_a_killed_supervisor_release_and_end(make_cluster: MakeCluster) -> None:
    """Nobody watches over them any more, so they finish, commit, release and end, within two seconds."""
    cluster = start(make_cluster, options=("--lease-ttl", "20"))  # no lease ends during this test
    host = cluster.hosts["host-a"]

    host.kill_supervisor()

    eventually("host-b owns everything", lambda: owns_everything(cluster, "host-b"), deadline=3.0)
    eventually("no process of host-a is left", lambda: not host.processes(), deadline=5.0)
    left = [each for each in cluster.judge.standby_documents() if each.host == "host-a"]
    assert not left, "nobody may be given a lock who is gone"
    assert_nothing_was_lost(cluster)


def test_a_stopped_worker_that_wakes_up_cannot_commit(make_cluster: MakeCluster) -> None:
    """SIGSTOP for twice the lease: somebody else takes over, and the sleeper leaves when it wakes up."""
    cluster = start(make_cluster, options=("--lease-ttl", "2", "--log-level", "debug"))
    partition, lock, token = any_owner(cluster)
    # Its supervisor would end it at nine tenths of the lease: freeze that too, so that nothing but fencing protects.
    supervisor = cluster.hosts[lock.host]
    supervisor.signal_all(signal.SIGSTOP)

    eventually("the partition has another owner", has_new_owner(cluster, partition, token), deadline=15.0)
    eventually("the sleeper slept for two leases", lambda: slept(cluster, partition, seconds=4.0), deadline=15.0)
    supervisor.signal_all(signal.SIGCONT)

    eventually("the sleeper has ended", lambda: not psutil.pid_exists(lock.pid), deadline=10.0)
    cluster.wait_until_complete()
    assert_nothing_was_lost(cluster)
    log = supervisor.log.read_text()
    assert any(words in log for words in ("was refused", "lease", "has another owner")), log


def test_what_a_sleeper_tries_to_commit_is_refused(make_cluster: MakeCluster) -> None:
    """Lease and clock are good, it merely slept while the lock got another owner: only the token tells."""
    cluster = start(make_cluster, options=("--lease-ttl", "30"))
    partition, lock, token = any_owner(cluster)

    os.kill(lock.pid, signal.SIGSTOP)
    cluster.store.transact(Txn((), (Delete(cluster.keys.lock(partition)),)))
    eventually("the partition has another owner", has_new_owner(cluster, partition, token))
    eventually("the new owner commits", lambda: cluster.judge.offset(partition).token > token)
    os.kill(lock.pid, signal.SIGCONT)

    eventually("the sleeper has ended", lambda: not psutil.pid_exists(lock.pid))
    refused = f"{partition} has another owner by now: a commit under token {token} was refused"
    eventually("its log shows the refusal", lambda: refused in cluster.hosts[lock.host].log.read_text())
    assert_nothing_was_lost(cluster)


def slept(cluster: DemoCluster, partition: Partition, seconds: float) -> bool:
    """How long the new owner has been at work, by the documents it writes."""
    newest = cluster.judge.history(partition)[-1]
    return milliseconds(newest.since, now()) > seconds * 1000


def test_a_worker_that_was_stopped_briefly_goes_on_as_the_owner(make_cluster: MakeCluster) -> None:
    """SIGSTOP for less than three quarters of the lease costs time, not the ownership."""
    cluster = start(make_cluster, options=("--lease-ttl", "20"))
    partition, lock, token = any_owner(cluster)
    offset = cluster.judge.offsets()[partition]

    os.kill(lock.pid, signal.SIGSTOP)
    eventually(
        "others have gone on",
        lambda: min(o for p, o in cluster.judge.offsets().items() if p != partition) > offset + 200,
    )
    os.kill(lock.pid, signal.SIGCONT)

    eventually("it has caught up", lambda: cluster.judge.offsets()[partition] > offset + 200)
    assert cluster.judge.tokens()[partition] == token
    assert_nothing_was_lost(cluster)


def test_a_frozen_supervisor_does_not_disturb_its_owners(make_cluster: MakeCluster) -> None:
    """Owners keep their leases alive themselves, and thawing the supervisor kills nobody."""
    cluster = start(make_cluster, options=("--lease-ttl", "2"), hosts=("only",))
    before = cluster.judge.tokens()
    host = cluster.hosts["only"]
    offset = min(cluster.judge.offsets().values())

    os.kill(host.pid, signal.SIGSTOP)
    eventually(
        "work goes on for twice the lease",
        lambda: min(cluster.judge.offsets().values()) > offset + 4 * 500,
        deadline=20,
    )
    os.kill(host.pid, signal.SIGCONT)
    offset = min(cluster.judge.offsets().values())
    eventually("and afterwards", lambda: min(cluster.judge.offsets().values()) > offset + 500)

    assert cluster.judge.tokens() == before
    assert_nothing_was_lost(cluster)


def test_a_host_that_is_told_to_stop_hands_over(make_cluster: MakeCluster) -> None:
    """TERM: every partition goes to the other host's standby in the last commit; no lease has to end."""
    cluster = start(make_cluster, options=("--lease-ttl", "30"))
    host = cluster.hosts[any_owner(cluster)[1].host]
    (other,) = cluster.hosts.keys() - {host.name}

    host.stop()

    assert host.wait(10.0) == 0
    assert [lock.host for lock in cluster.judge.owners().values()] == [other] * 4
    eventually("the fork server has seen it and ended", lambda: not host.processes())
    assert_nothing_was_lost(cluster)


def test_an_owner_that_hears_term_itself_hands_over(make_cluster: MakeCluster) -> None:
    """A TERM to a worker alone, or to a whole process group, is an orderly end too."""
    cluster = start(make_cluster, options=("--lease-ttl", "30"))
    partition, lock, token = any_owner(cluster)

    os.kill(lock.pid, signal.SIGTERM)

    eventually("the partition has another owner", has_new_owner(cluster, partition, token))
    eventually("it was handed over", lambda: cluster.judge.history(partition)[-1].cause == "handed-over")
    assert_nothing_was_lost(cluster)


def test_a_dead_fork_server_takes_no_worker_along(make_cluster: MakeCluster) -> None:
    """Workers live on, new ones come from a new fork server."""
    cluster = start(make_cluster)
    partition, lock, _ = any_owner(cluster)
    host = cluster.hosts[lock.host]
    before = cluster.judge.tokens()
    [fork_server] = [p for p in host.processes() if "forkserver" in " ".join(p.cmdline())]

    fork_server.kill()

    eventually("the fork server is gone", lambda: not fork_server.is_running() or fork_server.status() == "zombie")
    offset = min(cluster.judge.offsets().values())
    eventually("work goes on", lambda: min(cluster.judge.offsets().values()) > offset + 100)
    assert cluster.judge.tokens() == before
    os.kill(lock.pid, signal.SIGKILL)
    eventually("the partition has another owner", has_new_owner(cluster, partition, before[partition]))
    cluster.wait_until_complete()
    assert_nothing_was_lost(cluster)


def test_a_host_that_can_start_no_worker_goes_on_and_starts_one_when_it_can(make_cluster: MakeCluster) -> None:
    """It has no descriptors left: said, tried again, and never given up; a death is a takeover all the same."""
    cluster = start(make_cluster)
    partition, lock, token = any_owner(cluster)
    host = cluster.hosts[lock.host]
    supervisor = psutil.Process(host.pid)
    limits = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (8, limits[1]))

    os.kill(lock.pid, signal.SIGKILL)

    eventually("the partition has another owner", has_new_owner(cluster, partition, token))
    eventually("it is said", lambda: host.log.read_text().count("no worker can be started: OSError") > 1)
    offset = min(cluster.judge.offsets().values())
    eventually("work goes on", lambda: min(cluster.judge.offsets().values()) > offset + 100)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, limits)
    eventually("each partition has its standby again", lambda: all(cluster.judge.standbys().values()), deadline=30.0)
    cluster.wait_until_complete()
    assert_nothing_was_lost(cluster)


def test_a_cluster_that_stopped_leaves_nothing(make_cluster: MakeCluster) -> None:
    """No process, no lock, no standby, no host, and so no lease; no semaphore and no temporary file of ours."""
    semaphores = {Path("/dev/shm")}  # of others, too: those remove theirs at once
    before = leftovers(semaphores)
    cluster = start(make_cluster, options=("--lease-ttl", "60"))  # nothing of it may have to time out
    folders = {host.log.parent for host in cluster.hosts.values()}  # the guard of processes makes it their TMPDIR
    cluster.load.stop()

    for host in cluster.hosts.values():
        host.stop()
    assert [host.wait(20.0) for host in cluster.hosts.values()] == [0, 0]

    eventually("no process is left", lambda: not any(host.processes() for host in cluster.hosts.values()))
    keys = cluster.keys
    leased = (keys.locks, keys.standbys, keys.hosts)
    eventually("no leased key is left", lambda: not any(cluster.store.list(prefix).items for prefix in leased))
    eventually("no semaphore or folder is left", lambda: leftovers(semaphores | folders) <= before)


def leftovers(folders: set[Path]) -> set[Path]:
    """What multiprocessing calls its own there."""
    return {each for folder in folders for each in folder.glob("*mp-*")}
