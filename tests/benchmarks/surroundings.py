"""Where and with what was measured: versions, the machine, and how fast it was just then.

Figures of two runs can only be compared when this is much the same for both. The calibration tells: a loop of
additions (the processor), an fdatasync (the disk) and a put (etcd) have nothing to do with what is measured.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import confluent_kafka
import psutil

from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.etcd.store import ServerStatus
from tests.benchmarks.etcd_load import write_ms
from tests.benchmarks.trials import median

ROOT = Path(__file__).parents[2]

#: What is measured; a change elsewhere does not make it another commit.
_MEASURED = ("supervisor", "workers", "tests/benchmarks", "pyproject.toml")

#: What latencies are multiples of, where nothing was measured beside them.
WRITE_MS = "put, 3 etcd members, ms"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All of it in words and numbers that JSON can hold."""

    date: str
    """When measuring began, UTC."""
    commit: str
    services: str
    """Which Kafka and etcd, and how they were started."""
    versions: dict[str, str]
    machine: dict[str, str | float]
    calibration: dict[str, float]
    """Name with unit -> median."""


def look_around(services: str, etcd_endpoints: str, single_etcd_endpoint: str) -> Surroundings:
    """Takes about a second."""
    with_three, with_one = (round(median(write_ms(each, 50)), 3) for each in (etcd_endpoints, single_etcd_endpoint))
    return Surroundings(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit_of(ROOT),
        services=services,
        versions={
            "python": platform.python_version(),
            "confluent-kafka": version("confluent-kafka"),
            "librdkafka": str(confluent_kafka.libversion()[0]),
            "grpcio": version("grpcio"),
            "protobuf": version("protobuf"),
            "etcd": _etcd_version(etcd_endpoints),
        },
        machine={
            "cores": os.cpu_count() or 0,
            "model": _processor(),
            "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
            "kernel": platform.release(),
        },
        calibration={
            "a million additions, ms": _median_ms(_add, 7),
            "fdatasync of 4 KiB, ms": _fdatasync_ms(),
            WRITE_MS: with_three,
            "put, 1 etcd member, ms": with_one,
        },
    )


def commit_of(folder: Path) -> str:
    """The commit that is checked out there; "with changes" when what is measured differs from it."""

    def git(*arguments: str) -> str:
        told = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
        return told.stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD") or "unknown"
    return f"{commit} with changes" if git("status", "--porcelain", "--", *_MEASURED) else commit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _median_ms(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return round(median(taken), 3)


def _add() -> int:
    total = 0
    for number in range(1_000_000):
        total += number
    return total


def _fdatasync_ms() -> float:
    with tempfile.TemporaryFile() as file:

        def write() -> None:
            os.pwrite(file.fileno(), b"." * 4096, 0)
            os.fdatasync(file.fileno())

        return _median_ms(write, 50)


def _etcd_version(endpoints: str) -> str:
    store = Etcd(EtcdOptions(parse_endpoints(endpoints)))
    try:
        status = store.status()[0]
        return status.version if isinstance(status, ServerStatus) else "unknown"
    finally:
        store.close()
