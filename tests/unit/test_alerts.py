"""The rules fire when they should, and for the group that they are about: promtool has series of some minutes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from partition_supervisor.web.catalogue import GROUP

RULES = Path(__file__).parents[2] / "docker/grafana/alerts.yaml"

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")


@dataclass(frozen=True, slots=True)
class Case:
    """`series`: values minute by minute, in promtool's words: `1x3` is four times 1, and `stale` is how Prometheus
    notes that a target is gone. `firing`: at a minute, the alerts by their labels."""

    alert: str
    series: dict[str, str]
    firing: dict[int, set[str]]


def of(name: str, group: str, **labels: str) -> str:
    """A series of one of our metrics."""
    written = ",".join(f'{label}="{value}"' for label, value in {GROUP: group, **labels}.items())
    return f"partition_supervisor_{name}{{{written}}}"


def info(group: str, instance: str) -> str:
    return of("info", group, version="1.2.3", host=instance, instance=instance)


def hosts(group: str, instance: str) -> str:
    return of("hosts", group, instance=instance)


P = {"topic": "events", "partition": "0"}
ON_A, ON_B = {**P, "instance": "a:9464"}, {**P, "instance": "b:9464"}

CASES = {
    "all supervisors of all groups are gone, also after a day, and one comes back": Case(
        "SupervisorsGone",
        {info("orders", "a"): "1x10 stale _x1499 1x30", info("invoices", "b"): "1x12 stale _x1599"},
        {10: set(), 15: set(), 20: {"{}"}, 1500: {"{}"}, 1520: set()},
    ),
    "there never was one": Case("SupervisorsGone", {"up": "1x20"}, {4: set(), 6: {"{}"}}),
    "those of one group are gone, and others are there": Case(
        "SupervisorsGone",
        {
            info("orders", "a"): "1x10 stale _x59 1x30",
            info("orders", "b"): "1x5 stale _x99",
            info("invoices", "c"): "1x200",
        },
        {14: set(), 20: {'{group="orders"}'}, 70: {'{group="orders"}'}, 75: set()},
    ),
    "a group that was given up is forgotten": Case(
        "SupervisorsGone",
        {info("orders", "a"): "1x10 stale _x599", info("invoices", "c"): "1x700"},
        {300: {'{group="orders"}'}, 500: set()},
    ),
    "a supervisor is begun anew under another version": Case(
        "SupervisorsGone",
        {info("orders", "a"): "1x10 stale _x59", info("orders", "b"): "_x12 1x60"},
        {14: set(), 20: set(), 60: set()},
    ),
    "one target of several is down": Case(
        "SupervisorDown",
        {
            'up{job="partition-supervisor",instance="a:9464"}': "1x10 0x20 1x20",
            'up{job="production/partition-supervisor",instance="b:9464"}': "1x10 0x20 1x20",
            'up{job="partition-supervisor",instance="c:9464"}': "1x50",
            'up{job="other",instance="d:9464"}': "0x50",
        },
        {10: set(), 14: set(), 20: {'{instance="a:9464"}', '{instance="b:9464"}'}, 40: set()},
    ),
    "a host of three is gone; it is told for half an hour": Case(
        "HostsFewer",
        {hosts("orders", "a"): "3x60 2x60", hosts("orders", "b"): "3x60 2x60", hosts("invoices", "c"): "5x200"},
        {60: set(), 70: {'{group="orders"}'}, 85: {'{group="orders"}'}, 100: set()},
    ),
    "an update has one host more for ten minutes": Case(
        "HostsFewer",
        {hosts("orders", "a"): "3x60 4x10 3x60"},
        {minute: set() for minute in range(55, 130, 5)},
    ),
    "a group begins": Case(
        "HostsFewer", {hosts("orders", "a"): "1x2 2x2 3x60"}, {minute: set() for minute in range(0, 60, 3)}
    ),
    "one host sees fewer than the others": Case(
        "HostsFewer",
        {hosts("orders", "a"): "3x60 1x30", hosts("orders", "b"): "3x90"},
        {70: set()},
    ),
    "a partition stands, and another group that reads the same topic goes on": Case(
        "PartitionStalled",
        {
            of("lag_records", "orders", **ON_A): "7x60",
            of("records_total", "orders", **ON_A): "100x60",
            of("lag_records", "invoices", **ON_B): "7x60",
            of("records_total", "invoices", **ON_B): "0+60x60",
        },
        {25: {'{group="orders"}'}},
    ),
    "a partition of one group is parked, and other groups have none": Case(
        "PartitionParked",
        {
            of("partitions_parked", "orders", instance="a:9464"): "1x30",
            of("partitions_parked", "invoices", instance="b:9464"): "0x30",
        },
        {10: {'{group="orders"}'}},
    ),
    "a partition has no leader": Case(
        "LagUnknown",
        {
            of("owner", "orders", **ON_A): "1x60",
            of("kafka_up", "orders", instance="a:9464"): "1x60",
            of("lag_records", "orders", **ON_A): "0x10 stale _x19 0x30",
            of("owner", "orders", **{**ON_A, "partition": "1"}): "1x60",
            of("lag_records", "orders", **{**ON_A, "partition": "1"}): "5x60",
            of("owner", "invoices", **ON_B): "1x60",
            of("kafka_up", "invoices", instance="b:9464"): "1x60",
            of("lag_records", "invoices", **ON_B): "0x60",
        },
        {12: set(), 25: {'{group="orders"}'}, 35: set()},
    ),
    "it moves from host to host meanwhile, for nobody can read it": Case(
        "LagUnknown",
        {
            of("owner", "orders", **ON_A): "1x5 stale _x4 1x5 stale _x4 1x5 stale _x4",
            of("owner", "orders", **ON_B): "_x6 1x4 stale _x5 1x4 stale _x5 1x4",
            of("kafka_up", "orders", instance="a:9464"): "1x60",
            of("kafka_up", "orders", instance="b:9464"): "1x60",
        },
        {15: {'{group="orders"}'}},
    ),
    "Kafka does not answer: that is said once": Case(
        "LagUnknown",
        {
            of("owner", "orders", **ON_A): "1x60",
            of("kafka_up", "orders", instance="a:9464"): "0x60",
        },
        {30: set()},
    ),
    "one member of etcd is away, then all are": Case(
        "EtcdGone",
        {
            of("etcd_up", "orders", endpoint="one:2379", instance="a:9464"): "1x10 0x40",
            of("etcd_up", "orders", endpoint="two:2379", instance="a:9464"): "1x20 0x10 1x20",
        },
        {15: set(), 25: {'{group="orders"}'}, 35: set()},
    ),
    "leases are renewed late, by what they are granted for": Case(
        "LeasesNearlyLate",
        {
            of("lease_least_left_seconds", "orders", instance="a:9464"): "1.5x40",
            of("lease_ttl_seconds", "orders", instance="a:9464"): "5x40",
            of("lease_least_left_seconds", "invoices", instance="b:9464"): "1.5x40",
            of("lease_ttl_seconds", "invoices", instance="b:9464"): "2x40",
        },
        {5: set(), 15: {'{group="orders"}'}},
    ),
    "an etcd that tells its quota, and one that does not": Case(
        "EtcdNearlyFull",
        {
            of("etcd_database_bytes", "orders", endpoint="full:2379"): "1600000000x20",
            of("etcd_quota_bytes", "orders", endpoint="full:2379"): "2000000000x20",
            of("etcd_database_bytes", "orders", endpoint="large:2379"): "1600000000x20",
            of("etcd_quota_bytes", "orders", endpoint="large:2379"): "8000000000x20",
            of("etcd_database_bytes", "orders", endpoint="old-full:2379"): "1600000000x20",
            of("etcd_database_bytes", "orders", endpoint="old:2379"): "1400000000x20",
        },
        {4: set(), 10: {'{endpoint="full:2379",group="orders"}', '{endpoint="old-full:2379",group="orders"}'}},
    ),
}


def promtool(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_alert_fires_and_ends(case: Case, tmp_path: Path) -> None:
    labels = {name for found in case.firing.values() for each in found for name in re.findall(r"(\w+)=", each)}
    firing = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    looks = [
        {
            "expr": f"count by ({','.join(sorted(labels))}) ({firing})",
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": each, "value": 1} for each in sorted(found)],
        }
        for minute, found in case.firing.items()
    ]
    test: dict[str, Any] = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": looks,
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    promtool(tmp_path, "test", "rules", "test.yaml")


def test_the_rules_are_rules(tmp_path: Path) -> None:
    """Their templates too."""
    assert "SUCCESS" in promtool(tmp_path, "check", "rules", str(RULES))
