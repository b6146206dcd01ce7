"""Faults that only the fake store can be told to have."""

from __future__ import annotations

import pytest

from partition_workers.errors import Unavailable
from partition_workers.etcd.store import (
    Renewal,
)
from tests.contract.calls import put, take
from tests.eventually import eventually
from tests.fakes.etcd import FakeEtcd


class TestFaults:
    """What only the fake can be told to do."""

    @pytest.mark.parametrize("applied", [False, True])
    def test_an_unknown_outcome(self, applied: bool, prefix: str) -> None:
        """The next transaction raises, done or not; the one after it is answered again."""
        fake = FakeEtcd()
        fake.fail_next(applied=applied)
        with pytest.raises(Unavailable):
            put(fake, f"{prefix}a", b"1")
        assert (fake.get(f"{prefix}a") is not None) is applied
        put(fake, f"{prefix}b", b"2")

    def test_a_lease_that_ends_early(self, prefix: str) -> None:
        """A lease can be ended while its owner renews it."""
        fake = FakeEtcd()
        lease = fake.grant(60).lease
        put(fake, f"{prefix}lock", b"", lease)
        fake.expire(lease)
        assert fake.get(f"{prefix}lock") is None
        assert list(fake.keepalive(iter([[lease]]))) == [Renewal(lease, 0)]

    def test_streams_that_break(self, prefix: str) -> None:
        """Open streams raise what they are told to; new ones work."""
        fake = FakeEtcd()
        watch = fake.watch((prefix,), 2)
        fake.break_streams()
        with pytest.raises(Unavailable):
            list(watch)
        put(fake, f"{prefix}a", b"1")
        eventually("the change is told", lambda: take(fake.watch((prefix,), 2), 1))
