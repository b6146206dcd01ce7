"""What tests on real processes share."""

from __future__ import annotations

import pytest

from partition_supervisor.dev.services import Services
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.system.console import OPTIONS, Console, is_balanced


@pytest.fixture
def console(make_cluster: MakeCluster, services: Services) -> Console:
    """Beside two hosts under a load, each with two partitions that have committed something."""
    cluster = make_cluster(options=OPTIONS, rate=800.0)
    cluster.start()
    cluster.load.start()
    eventually(
        "records are committed", lambda: len(cluster.judge.offsets()) == 4 and all(cluster.judge.offsets().values())
    )
    eventually("both own two", lambda: is_balanced(cluster), deadline=20)
    return Console(cluster, services)


@pytest.fixture
def quiet(make_cluster: MakeCluster, services: Services) -> Console:
    """Beside a cluster none of whose hosts runs."""
    return Console(make_cluster(), services)
