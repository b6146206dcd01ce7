"""What every test may ask for: Kafka and etcd, a fresh topic, a cluster of its own."""

from __future__ import annotations

import os
import secrets
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from partition_supervisor.admin.settings import CONFIG_VARIABLE
from partition_supervisor.dev import services as services_module
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from partition_workers.etcd.options import parse_endpoints

KIND = os.environ.get("PARTITION_SUPERVISOR_TEST_SERVICES", "auto")
PARTITIONS = 4

_running: Services | None = None

# A machine may have settings of a group of its own, in /etc for one.
os.environ[CONFIG_VARIABLE] = os.devnull

# Under `nohup`, or in the background of a script, these are ignored, and what the tests start would inherit that;
# some tests wait for one that is hit by them.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def _no_exit(code: int, of: int = os.getpid(), exit_: Callable[[int], NoReturn] = os._exit) -> NoReturn:
    """Code of ours that ends its process, left over from an earlier test: the run would be over without a word, and
    green. What was forked may end itself."""
    if os.getpid() == of:
        os.write(2, f"\nsomething ends the run of the tests by os._exit({code}):\n".encode())
        traceback.print_stack()
        signal.raise_signal(signal.SIGABRT)
    exit_(code)


os._exit = _no_exit  # type: ignore[assignment]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say first which Kafka and etcd the tests run against, if any of them needs one."""
    global _running
    needed = any(needs_services(item) for item in session.items)
    if needed and not session.config.option.collectonly:
        _running = services_module.start(KIND)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\nKafka and etcd for these tests: {_running.description}", bold=True)


def needs_services(item: pytest.Item) -> bool:
    """A contract test asks for services only while it runs, and only in the half that is about the real thing."""
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return "services" in getattr(item, "fixturenames", ()) or "real" in (params.get("store"), params.get("broker"))


def pytest_sessionfinish() -> None:
    if _running is not None:
        _running.stop()


@pytest.fixture(scope="session")
def services() -> Services:
    """Kafka and etcd, the same for all tests; whoever breaks them mends them."""
    global _running
    if _running is None:  # asked for by name, while the tests run
        _running = services_module.start(KIND)
    return _running


@pytest.fixture(scope="session")
def etcd_endpoints(services: Services) -> tuple[str, ...]:
    return parse_endpoints(services.etcd_endpoints)


@pytest.fixture
def topic(services: Services) -> str:
    """A fresh topic of four partitions."""
    name = f"test-{secrets.token_hex(4)}"
    create_topic(services.bootstrap_servers, name, PARTITIONS)
    return name


MakeCluster = Callable[..., DemoCluster]


@pytest.fixture
def broker(services: Services) -> Services:
    """For what librdkafka's mock of a broker cannot: topics that are not there, settings of topics, transactions."""
    if services.kind == "embedded":
        pytest.skip(
            "librdkafka's mock of a broker has every topic, no settings of any, and forgets what transactions did"
        )
    return services


@pytest.fixture
def make_cluster(services: Services, topic: str) -> Iterator[MakeCluster]:
    """Clusters over a fresh topic. Nothing of them may be left at the end; the logs show what happened."""
    made: list[DemoCluster] = []

    def make(**settings: object) -> DemoCluster:
        addresses = services.bootstrap_servers, services.etcd_endpoints
        cluster = DemoCluster(*addresses, topic, PARTITIONS, **settings)  # type: ignore[arg-type]
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        print(cluster.logs())
        cluster.close()
        left = [process for host in cluster.hosts.values() for process in host.processes()]
        assert not left, f"processes were left: {left}"
