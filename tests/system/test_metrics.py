"""The HTTP port of running hosts, as Prometheus and Kubernetes use it, while workers are killed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_workers.layout.documents import Host
from tests.commands import cli
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.system.console import assert_nothing_was_lost

TOKEN = "a-token"
Sample = tuple[str, tuple[tuple[str, str], ...]]


def address(cluster: DemoCluster, host: str) -> str:
    """From the host's document, where `status` has it from."""
    found = cluster.store.get(cluster.keys.host(host))
    assert found is not None
    return Host.decode(found.value).address


def ask(where: str, path: str, token: str = TOKEN) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{where}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def scrape(where: str) -> tuple[dict[Sample, float], set[str]]:
    """All samples, and the names of those that count."""
    status, text = ask(where, "/metrics")
    assert status == 200
    families = list(text_string_to_metric_families(text))
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for each in families for s in each.samples}
    counting = {s.name for each in families if each.type in ("counter", "histogram") for s in each.samples}
    return samples, counting


def total(samples: dict[Sample, float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (found, its), value in samples.items() if found == name and wanted <= set(its))


class ServiceManager:
    """A socket that stands in for systemd's, and the lines that came."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while True:
            self.heard += self._socket.recv(4096).decode().splitlines()


@pytest.fixture
def systemd(tmp_path: Path) -> ServiceManager:
    return ServiceManager(str(tmp_path / "notify"))


def test_counters_go_on_through_kills_and_probes_answer(make_cluster: MakeCluster, systemd: ServiceManager) -> None:
    """Those of both hosts; a wrong token is told so. Their service manager hears of them."""
    settings = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "2000000"}
    cluster = make_cluster(
        options=("--rebalance-delay", "60", "--http-token", TOKEN), rate=400.0, environment=settings
    )
    cluster.start()
    eventually("both are ready", lambda: systemd.heard.count("READY=1") == 2)
    cluster.load.start()
    where = {name: address(cluster, name) for name in cluster.hosts}
    for each in where.values():
        assert ask(each, "/livez", "") == (200, "ok\n")
        eventually("it is ready", lambda each=each: ask(each, "/readyz", "") == (200, "ok\n"))  # type: ignore[misc]
        assert ask(each, "/metrics", "another")[0] == 401

    before = {name: scrape(each) for name, each in where.items()}
    killed = 0
    for _ in range(3):
        partition, lock = next(iter(cluster.judge.owners().items()))
        token = cluster.judge.tokens()[partition]
        os.kill(lock.pid, signal.SIGKILL)
        killed += 1
        eventually("it has another owner", lambda p=partition, t=token: cluster.judge.tokens().get(p, 0) > t)  # type: ignore[misc]
        cluster.wait_until_complete()
        for name, each in where.items():
            samples, counting = scrape(each)
            fell = {
                sample: (value, samples.get(sample))
                for sample, value in before[name][0].items()
                if sample[0] in counting and samples.get(sample, -1.0) < value
            }
            assert not fell
            before[name] = samples, counting

    def of_both(name: str, **labels: str) -> float:
        return sum(total(scrape(each)[0], name, **labels) for each in where.values())

    p = "partition_supervisor_"
    eventually("the deaths are counted", lambda: of_both(f"{p}worker_exits_total", reason="killed") == killed)
    eventually("takeovers are counted", lambda: of_both(f"{p}ownerships_total", cause="taken-over") >= 1)
    eventually("gaps are told", lambda: of_both(f"{p}gap_seconds_count", phase="first_record") >= 1)
    eventually("lag is sampled", lambda: of_both(f"{p}kafka_read_seconds") > 0, deadline=20)
    eventually("all have owners", lambda: of_both(f"{p}workers", state="owner") == 4)
    eventually("records are counted", lambda: of_both(f"{p}records_total") > 0)
    eventually("the loops are heard", lambda: systemd.heard.count("WATCHDOG=1") >= 8)
    assert_nothing_was_lost(cluster)
    cluster.hosts["host-a"].stop()
    eventually("it says that it stops", lambda: "STOPPING=1" in systemd.heard, deadline=20)


@pytest.mark.parametrize("written", ["127.0.0.1", "127.0.0.1:99999"])
def test_a_port_that_cannot_be_had_is_one_clear_answer(written: str) -> None:
    """Before anything else is asked for."""
    ended = cli("run", "partition_workers.samples:count", "-t", "t", "--http", written)
    assert ended.returncode == 78
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"error: --http {written}: ")
