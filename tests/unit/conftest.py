"""What unit tests share: hosts on fakes; and a property may take as long as a busy machine needs, for one example and
for making it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.host import FakeHost, MakeHost

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    made: list[FakeHost] = []

    def make(partitions: int = 1, **settings: Any) -> FakeHost:
        made.append(FakeHost(partitions, **settings))
        return made[-1]

    yield make
    for host in made:
        host.close()
