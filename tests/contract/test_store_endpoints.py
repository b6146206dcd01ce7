"""Endpoints that are dead, silent or of another cluster: what only a real network can do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from partition_workers.errors import ClusterReplaced, Unavailable
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.status import SilentServer
from partition_workers.etcd.store import (
    Put,
    Renewal,
    Txn,
    TxnResult,
)
from tests.contract.calls import connected, ended_after, is_answered, put, take, told
from tests.eventually import eventually
from tests.fakes.line import Line


def soon_beside_a_stream(etcd: Etcd, prefix: str) -> TxnResult:
    """It goes another way then."""
    etcd.watch((f"{prefix}elsewhere/",), 0)
    return etcd.transact_soon(Txn((), ())).result(timeout=10)


class TestEndpoints:
    """What only a real network can do."""

    def test_a_dead_endpoint_is_passed_over(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str, prefix: str
    ) -> None:
        """With nobody at the first endpoint reads work at once, and whatever comes after them."""
        etcd = Etcd(EtcdOptions((dead_endpoint, *etcd_endpoints)))
        try:
            assert etcd.get(prefix) is None
            put(etcd, f"{prefix}a", b"1")
            watch = etcd.watch((prefix,), 1 + etcd.list(prefix).revision)
            put(etcd, f"{prefix}a", b"2")
            assert told(take(watch, 1), prefix) == [("put", "a", b"2")]
        finally:
            etcd.close()

    def test_a_failed_transaction_turns_to_the_next_endpoint(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str, prefix: str
    ) -> None:
        """A transaction is not repeated by itself; the caller's repetition goes elsewhere, waiting or not."""
        for soon in (False, True):
            etcd = Etcd(EtcdOptions((dead_endpoint, *etcd_endpoints)))
            txn = Txn((), (Put(f"{prefix}{soon}", b""),))
            try:
                with pytest.raises(Unavailable, match=dead_endpoint):
                    etcd.transact_soon(txn).result(timeout=10) if soon else etcd.transact(txn)
                assert etcd.transact(txn).succeeded
            finally:
                etcd.close()

    def test_streams_turn_to_the_next_endpoint(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str, prefix: str
    ) -> None:
        """A stream that cannot be opened is Unavailable; the next one is opened elsewhere."""
        etcd = Etcd(EtcdOptions((dead_endpoint, *etcd_endpoints)))
        try:
            with pytest.raises(Unavailable):
                list(etcd.keepalive(iter([[1]])))
            assert list(etcd.keepalive(iter([[1]]))) == [Renewal(1, 0)]
        finally:
            etcd.close()

    def test_nobody_anywhere_is_unavailable_in_time(self, dead_endpoint: str) -> None:
        """With all endpoints dead every kind of call raises Unavailable within about its deadline."""
        etcd = Etcd(EtcdOptions((dead_endpoint, dead_endpoint)))
        calls: list[Callable[[], object]] = [
            lambda: etcd.get("/a"),
            lambda: etcd.list("/a"),
            lambda: etcd.transact(Txn((), (Put("/a", b""),))),
            lambda: etcd.grant(5),
            lambda: etcd.time_to_live(1),
            lambda: etcd.page("/a"),
            lambda: etcd.page("/a", large=1.0),
            lambda: list(etcd.watch(("/a",), 1)),
            lambda: list(etcd.keepalive(iter([[1]]))),
        ]
        try:
            for call in calls:
                begun = time.monotonic()
                with pytest.raises(Unavailable):
                    call()
                assert time.monotonic() - begun < 3
        finally:
            etcd.close()

    def test_a_server_that_says_nothing_is_noticed(self, etcd_endpoints: tuple[str, ...]) -> None:
        """An endpoint that accepts connections and is silent costs one deadline, calls and streams alike."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            frozen = f"127.0.0.1:{silent.getsockname()[1]}"
            for call in (
                lambda etcd: list(etcd.watch(("/a",), 1)),
                lambda etcd: list(etcd.keepalive(iter([[1]]))),
                lambda etcd: etcd.transact(Txn((), ())),
            ):
                etcd = Etcd(EtcdOptions((frozen, *etcd_endpoints), timeout=0.3))
                try:
                    with pytest.raises(Unavailable):
                        call(etcd)
                    eventually("another answers", lambda etcd=etcd: is_answered(etcd, "/a"))  # type: ignore[misc]
                finally:
                    etcd.close()

    def test_silence_breaks_off_the_streams_of_that_server(
        self, etcd_endpoints: tuple[str, ...], prefix: str
    ) -> None:
        """When a call runs into its deadline, watches on the same server end too instead of hanging."""
        line = Line(etcd_endpoints[0])
        etcd, revision = connected(EtcdOptions((line.endpoint, *etcd_endpoints), timeout=0.5), f"{prefix}a")
        try:
            watch = etcd.watch((prefix,), revision)
            assert len(take(watch, 1)) == 1
            line.freeze()
            with pytest.raises(Unavailable, match="in time"):
                put(etcd, f"{prefix}a")
            with ended_after(10, watch.cancel), pytest.raises(Unavailable, match="in time"):
                list(watch)
            eventually("another answers", lambda: is_answered(etcd, f"{prefix}a"))
        finally:
            etcd.close()
            line.close()

    def test_after_silence_the_same_address_is_connected_anew(
        self, etcd_endpoints: tuple[str, ...], prefix: str
    ) -> None:
        """Behind a gateway it may be another member by then. Calls that nobody waits for notice it too."""
        line = Line(etcd_endpoints[0])
        etcd = Etcd(EtcdOptions((line.endpoint,), timeout=0.5))
        ask: list[Callable[[], object]] = [
            lambda: put(etcd, f"{prefix}a"),
            lambda: etcd.transact_soon(Txn((), ())).result(timeout=10),
        ]
        try:
            for each in ask:
                eventually("it answers", lambda: is_answered(etcd, prefix))
                line.freeze()
                with pytest.raises(Unavailable, match="in time"):
                    each()
                eventually("it answers again", lambda: is_answered(etcd, prefix))
        finally:
            etcd.close()
            line.close()

    def test_another_cluster_is_refused(self, etcd_endpoints: tuple[str, ...], prefix: str) -> None:
        """An answer from a cluster other than the first is an error, not data."""
        etcd = Etcd(EtcdOptions(etcd_endpoints))
        try:
            put(etcd, f"{prefix}a")
            cluster = etcd._calls.urgent.current._cluster
            cluster._id += 1
            with pytest.raises(ClusterReplaced, match="another etcd cluster answers at"):
                etcd.get(f"{prefix}a")
            with pytest.raises(ClusterReplaced, match="another etcd cluster"):
                etcd.transact_soon(Txn((), ())).result(timeout=10)
            with pytest.raises(ClusterReplaced, match="another etcd cluster"):
                soon_beside_a_stream(etcd, prefix)
            with pytest.raises(ClusterReplaced, match="another etcd cluster"):
                list(etcd.watch((prefix,), 0))
        finally:
            etcd.close()

    def test_status_names_who_answers_and_who_does_not(
        self, etcd_endpoints: tuple[str, ...], dead_endpoint: str
    ) -> None:
        """Each endpoint has an entry: its version, size and cluster, or why it could not be asked."""
        etcd = Etcd(EtcdOptions((etcd_endpoints[0], dead_endpoint)))
        try:
            good, bad = etcd.status()
        finally:
            etcd.close()
        assert not isinstance(good, SilentServer)
        assert isinstance(bad, SilentServer)
        assert (good.endpoint, bad.endpoint) == (etcd_endpoints[0], dead_endpoint)
        assert good.version.count(".") == 2
        assert good.db_bytes > 0
        assert dead_endpoint in bad.error
