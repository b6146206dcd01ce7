"""The bad days of etcd, and of what stands before it: afterwards every host is whole again. On real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import Judge
from partition_supervisor.dev.services import Services
from partition_workers.errors import ExitCode, NoSpace
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import Host, Lock, Standby, now
from tests.commands import cli
from tests.conftest import PARTITIONS
from tests.eventually import eventually
from tests.fakes.gateway import Gateway
from tests.own_etcd import OwnEtcd

pytestmark = pytest.mark.timeout(180)

LEASE = 3
#: Seconds that a bad day lasts: leases end meanwhile.
DAY = LEASE + 2.0
#: Seconds after which every host is whole again.
HEALING = 15.0

Code = grpc.StatusCode
#: One of each kind that gateways are known for.
CODES = (Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.NOT_FOUND, Code.UNAUTHENTICATED, Code.DATA_LOSS)


@contextlib.contextmanager
def cluster_on(
    services: Services, topic: str, address: str, *options: str, store: Etcd | None = None, **settings: object
) -> Iterator[DemoCluster]:
    """A cluster on that etcd, whose judge may have a way of its own to it. Its logs are shown."""
    fixed = ("--lease-ttl", str(LEASE), "--rebalance-delay", "3600", *options)
    cluster = DemoCluster(services.bootstrap_servers, address, topic, PARTITIONS, options=fixed, **settings)  # type: ignore[arg-type]
    if store is not None:
        cluster.store.close()
        cluster.store, cluster.judge = store, Judge(store, cluster.keys, topic, PARTITIONS)
    try:
        cluster.start()
        cluster.load.start()
        yield cluster
    finally:
        print(cluster.logs())
        cluster.close()


def assert_is_whole(cluster: DemoCluster) -> None:
    """Every host in its place, every partition owned, with a standby on the other host; nothing lost."""
    cluster.wait_until_complete(HEALING)
    assert all(host.is_running for host in cluster.hosts.values())
    eventually("every host is in its place", lambda: len(cluster.store.list(cluster.keys.hosts).items) == 2)
    before = cluster.judge.offsets()
    eventually("records are committed", lambda: all(n > before[p] for p, n in cluster.judge.offsets().items()), 30.0)


def assert_nothing_was_lost(cluster: DemoCluster) -> None:
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad


def test_a_gateway_that_answers_wrong_codes(services: Services, topic: str, etcd_endpoints: tuple[str, ...]) -> None:
    """For longer than leases live. Afterwards everything is as before, whatever the code was, and little was said."""
    gateway = Gateway(etcd_endpoints[0])
    try:
        with cluster_on(services, topic, gateway.address) as cluster:
            for code in CODES:
                with gateway.answering(code):
                    time.sleep(DAY)
                assert_is_whole(cluster)
            assert_nothing_was_lost(cluster)
            text = cluster.logs()
            assert "Traceback" not in text
            assert text.count("the listing of etcd: etcd at") < 30
    finally:
        gateway.close()


def test_a_right_that_is_revoked_and_granted_and_tokens_that_expire(
    services: Services, topic: str, tmp_path: Path
) -> None:
    """A simple token lives for two seconds after its last use."""
    with OwnEtcd(tmp_path, "--auth-token-ttl=2") as etcd:
        _with_users(etcd)
        _revoke_and_grant(services, topic, etcd)


def test_the_same_with_signed_tokens(services: Services, topic: str, tmp_path: Path) -> None:
    """They live for four seconds, used or not; so each stream is opened with an old one sooner or later."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genrsa", "-out", private, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    tokens = f"--auth-token=jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=4s"
    with OwnEtcd(tmp_path, tokens) as etcd:
        _with_users(etcd)
        _revoke_and_grant(services, topic, etcd)


def _with_users(etcd: OwnEtcd) -> None:
    for command in (
        "user add root:r", "role add root", "user grant-role root root", "user add us:first", "role add all",
        "role grant-permission all --prefix=true readwrite /partition-supervisor/", "user grant-role us all",
        "auth enable",
    ):  # fmt: skip
        etcd.ctl(*command.split())


ALL = "all", "--prefix=true"
OURS = "/partition-supervisor/"


def _revoke_and_grant(services: Services, topic: str, etcd: OwnEtcd) -> None:
    password = etcd.folder / "password"
    password.write_text("first\n")
    store = Etcd(EtcdOptions((etcd.address,), user="root", password="r"))
    options = "--etcd-user", "us", "--etcd-password-file", str(password)
    with cluster_on(services, topic, etcd.address, *options, store=store, rate=0.4) as cluster:
        owners = cluster.judge.tokens()
        time.sleep(10.0)  # next to nothing happens, for longer than tokens live
        assert cluster.judge.tokens() == owners
        etcd.ctl("role", "revoke-permission", *ALL, OURS, user="root:r")
        time.sleep(DAY)
        etcd.ctl("role", "grant-permission", *ALL, "readwrite", OURS, user="root:r")
        assert_is_whole(cluster)
        etcd.ctl("user", "passwd", "us", "--interactive=false", user="root:r", types="second\n")
        password.write_text("second\n")
        etcd.stop()
        etcd.start()  # tokens of the life before are of no use
        assert_is_whole(cluster)
        assert "Traceback" not in cluster.logs()


def test_a_restored_etcd(services: Services, topic: str, tmp_path: Path) -> None:
    """Its data are put back to what they were some time ago, while supervisors run: said loudly, and they go on."""
    with OwnEtcd(tmp_path) as etcd, cluster_on(services, topic, etcd.address) as cluster:
        etcd.copy("backup")
        lost_from = cluster.store.list(OURS).revision
        # Hosts see some of these revisions, at least those of their listings.
        eventually("more is committed", lambda: cluster.store.list(OURS).revision > lost_from + 300, 60.0)
        etcd.stop()
        etcd.put_back("backup")
        etcd.start()
        assert_is_whole(cluster)
        assert "etcd went back from revision" in cluster.logs()
        assert_nothing_was_lost(cluster)


def test_another_cluster_under_the_same_address(services: Services, topic: str, tmp_path: Path) -> None:
    """The hosts end with a code; started again, they begin there."""
    with OwnEtcd(tmp_path) as etcd, cluster_on(services, topic, etcd.address) as cluster:
        etcd.stop()
        etcd.put_back("")
        etcd.more_flags = ("--initial-cluster-token=another",)
        etcd.start()
        eventually("all have ended", lambda: not any(h.is_running for h in cluster.hosts.values()), deadline=20.0)
        codes = {cluster._processes.exit_code(name) for name in cluster.hosts}
        assert codes == {ExitCode.UNREACHABLE}
        eventually("no process is left", lambda: not any(h.processes() for h in cluster.hosts.values()))


def test_what_others_write_into_our_keys(services: Services, topic: str, etcd_endpoints: tuple[str, ...]) -> None:
    """Wrong types, garbage, another version, keys that are none: nobody dies of it."""
    with cluster_on(services, topic, ",".join(etcd_endpoints)) as cluster:
        keys, store = cluster.keys, cluster.store
        workers = {lock.worker for lock in cluster.judge.owners().values()}
        values = [b"", b"x", b"[]", b'{"v":2}', b'{"workers":"3"}', b"\xff", b'{"worker":1}']
        first = cluster.judge.partitions[0]
        places = [
            keys.host("stranger"), keys.hosts, f"{keys.hosts}a/b", f"{keys.locks}{topic}/x", f"{keys.locks}",
            f"{keys.standbys}{topic}/00000/none", f"{keys.standbys}{topic}/00000", keys.parked(first)[:-1],
            f"{keys.control}anything", keys.move(first), keys.history(first, 3), keys.offset(first) + "x",
        ]  # fmt: skip
        for value in values:
            for key in places:
                store.transact(Txn((), (Put(key, value),)))
        time.sleep(DAY)
        assert all(host.is_running for host in cluster.hosts.values())
        locks = [store.get(keys.lock(each)) for each in cluster.judge.partitions]
        assert {Lock.decode(each.value).worker for each in locks if each} == workers
        told = command(services, services, cluster, "status", "--check", code=ExitCode.CONDITION_NOT_MET)
        named = [key for key in places if key != keys.history(first, 3)]
        assert all(key in told for key in named)
        assert all(key in cluster.logs() for key in named if not key.startswith(keys.offsets))  # no host reads those
        assert keys.history(first, 3) in command(services, services, cluster, "history")
        for key in places:
            store.transact(Txn((), (Delete(key),)))
        assert_is_whole(cluster)
        command(services, services, cluster, "status", "--check")
        assert "Traceback" not in cluster.logs()


def command(where: Services | OwnEtcd, services: Services, cluster: DemoCluster, *words: str, code: int = 0) -> str:
    """What it says, on both outputs."""
    endpoints = where.address if isinstance(where, OwnEtcd) else where.etcd_endpoints
    kafka = ("-b", services.bootstrap_servers) if words[0] == "status" else ()
    ended = cli(*words, "--group", cluster.group, "--etcd-endpoints", endpoints, *kafka)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


def test_a_lock_that_nobody_can_read(services: Services, topic: str, etcd_endpoints: tuple[str, ...]) -> None:
    """Its owner ends, no standby dies, and when it is removed one of them owns the partition."""
    with cluster_on(services, topic, ",".join(etcd_endpoints)) as cluster:
        partition = cluster.judge.partitions[0]
        standbys = _standbys(cluster)
        cluster.store.transact(Txn((), (Put(cluster.keys.lock(partition), b"\x00garbage"),)))
        time.sleep(DAY)
        assert standbys <= _standbys(cluster) | {
            Lock.decode(each.value).worker for each in cluster.store.list(cluster.keys.locks).items if each.lease
        }
        assert f"etcdctl del {cluster.keys.lock(partition)}" in cluster.logs()
        cluster.store.transact(Txn((), (Put(cluster.keys.lock(partition), b"x"),)))
        cluster.store.transact(Txn((), (Delete(cluster.keys.lock(partition)),)))
        assert_is_whole(cluster)
        assert_nothing_was_lost(cluster)


def _standbys(cluster: DemoCluster) -> set[str]:
    return {Standby.decode(each.value).worker for each in cluster.store.list(cluster.keys.standbys).items}


def test_an_etcd_that_is_full(services: Services, topic: str, tmp_path: Path) -> None:
    """One line for each host, a state of its own in status; and everything goes on when there is space."""
    full = OwnEtcd(tmp_path / "etcd", "--quota-backend-bytes=20000000")
    with full as etcd, cluster_on(services, topic, etcd.address) as cluster:
        ballast = (Txn((), (Put(f"/ballast/{number}", b"x" * 1_000_000),)) for number in range(100))
        with pytest.raises(NoSpace):
            deque(map(cluster.store.transact, ballast))
        time.sleep(DAY)
        assert "NOSPACE" in command(etcd, services, cluster, "status", "--check", code=ExitCode.CONDITION_NOT_MET)
        for host in cluster.hosts.values():
            assert host.log.read_text().count("cannot commit") <= 1
        assert "cannot commit" in cluster.logs()
        etcd.ctl("del", "--prefix", "/ballast/")
        revision = cluster.store.list("/ballast/").revision
        etcd.ctl("compact", str(revision))
        etcd.ctl("defrag")
        etcd.ctl("alarm", "disarm")
        assert_is_whole(cluster)
        assert_nothing_was_lost(cluster)


def test_a_twin_that_came_while_a_host_was_away(
    services: Services, topic: str, etcd_endpoints: tuple[str, ...]
) -> None:
    """The one that comes back hands over and ends with 78."""
    with cluster_on(services, topic, ",".join(etcd_endpoints)) as cluster:
        host = cluster.hosts["host-a"]
        key = cluster.keys.host("host-a")
        os.kill(host.pid, signal.SIGSTOP)
        eventually("its lease has ended", lambda: cluster.store.get(key) is None, deadline=20.0)
        lease = cluster.store.grant(60).lease
        cluster.store.transact(Txn((), (Put(key, Host(4, "1", 1, "", now()).encode(), lease),)))
        os.kill(host.pid, signal.SIGCONT)
        eventually("it has ended", lambda: not host.is_running, deadline=30.0)
        assert cluster._processes.exit_code("host-a") == ExitCode.MISCONFIGURED
        assert "is taken" in cluster.logs()


def test_a_lease_that_is_revoked_is_entered_anew(
    services: Services, topic: str, etcd_endpoints: tuple[str, ...]
) -> None:
    """By hand, again and again; and a key that somebody deleted, or wrote over, is put again."""
    with cluster_on(services, topic, ",".join(etcd_endpoints)) as cluster:
        key = cluster.keys.host("host-a")
        for _ in range(3):
            seen = cluster.store.get(key)
            assert seen is not None
            cluster.store.revoke(seen.lease)
            eventually("it is there again", lambda: cluster.store.get(key) is not None)
        cluster.store.transact(Txn((), (Put(key, b"garbage"),)))
        eventually("it is ours again", lambda: (found := cluster.store.get(key)) is not None and found.lease != 0)
        assert_is_whole(cluster)
