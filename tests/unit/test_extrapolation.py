"""The arithmetic of `tests/benchmarks/extrapolation.py`: on numbers whose answer is known."""

from __future__ import annotations

import pytest

from tests.benchmarks.extrapolation import Limits, Measured, Plane, extrapolate, plane

FLAT = Plane(0.0, 0.0, 0.0)


def test_a_plane_goes_through_what_was_measured() -> None:
    truth = Plane(7.0, 0.5, 3.0)
    sizes = [(4, 2), (16, 2), (64, 2), (16, 1), (16, 4)]
    found = plane({size: truth.at(*size) for size in sizes}, partitions=16, hosts=2)
    assert found.at(10_000, 100) == pytest.approx(truth.at(10_000, 100))
    assert (found.base, found.per_partition, found.per_host) == pytest.approx((7.0, 0.5, 3.0))


def test_a_plane_needs_two_sizes_in_each_row() -> None:
    with pytest.raises(ValueError, match="too few sizes"):
        plane({(16, 2): 1.0, (64, 2): 2.0}, partitions=16, hosts=2)


def test_a_cost_below_nothing_is_nothing() -> None:
    assert Plane(-5.0, 0.1, 0.0).at(10, 1) == 0.0


def test_who_is_nearest_to_its_limit_comes_first() -> None:
    measured = Measured(
        workers_cpu=Plane(0.0, 0.5, 0.0),
        supervisors_cpu=Plane(0.0, 0.0, 1.0),
        memory=Plane(0.0, 20.0, 50.0),
        etcd_requests=FLAT,
        etcd_cpu=Plane(0.0, 0.01, 0.0),
        listing_bytes=1024.0,
        picture_ms=0.01,
        plan_ms=100.0,
        commits=5_000.0,
    )
    costs = extrapolate(measured, partitions=10_000, hosts=100, limits=Limits(2, 20_000.0, 100.0))
    shares = {cost.what: cost.share for cost in costs}
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert shares == pytest.approx(
        {
            "etcd: commits, every partition busy": 100_000 / 5_000,
            "etcd: bytes read by all supervisors": 10_000 * 1024 / 2**20 * 100 / 2.5 / 100.0,
            "etcd: idle cpu of all members": 100.0 / 200.0,
            "a host: idle cpu": 51.0 / 200.0,
            "a host: memory": 2_050.0 / 20_000.0,
            "a supervisor's loop: reading and planning": 200.0 / 2_500.0,
        }
    )
