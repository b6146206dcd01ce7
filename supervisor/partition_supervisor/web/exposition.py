"""`/metrics` as text, from what the loop has told and what was sampled beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from partition_supervisor.host_metrics import Histogram, HostMetrics, PartitionTotals
from partition_supervisor.web.catalogue import BY_NAME, GROUP, PREFIX
from partition_supervisor.web.sampler import Samples
from partition_workers.model import Partition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labelled = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the supervisor lives."""

    version: str
    host: str
    group: str
    lease_ttl: float


def exposition(
    about: About, host: HostMetrics, samples: Samples, silence: float, copies_failed: int, lines_dropped: int
) -> bytes:
    """One family after the other, and others have the processor in between: the loop may have a death to see to."""
    text = bytearray()
    for family in _of_group(about.group, families(about, host, samples, silence, copies_failed, lines_dropped)):
        text += generate_latest(_Only(family))
        time.sleep(0)
    for family in _process.collect():
        text += generate_latest(_Only(family))
    return bytes(text)


class _Only:
    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


_process = ProcessCollector(registry=None)


def _of_group(group: str, made: Iterable[Family]) -> Iterator[Family]:
    for family in made:
        for sample in family.samples:
            sample.labels[GROUP] = group
        yield family


def families(
    about: About, host: HostMetrics, samples: Samples, silence: float, copies_failed: int, lines_dropped: int
) -> Iterator[Family]:
    yield _family("info", [((about.version, about.host), 1)])
    yield from _of_host(host, silence)
    yield from _of_partitions(host, samples)
    yield from _of_commits_and_leases(host)
    yield _family("lease_ttl_seconds", [((), about.lease_ttl)])
    yield from _of_surroundings(host, samples, copies_failed)
    dropped = [(("handler",), host.log_lines_dropped), (("supervisor",), lines_dropped)]
    yield _family("log_lines_dropped_total", dropped)


def _of_host(host: HostMetrics, silence: float) -> Iterator[Family]:
    plain = {
        "ready": host.is_ready, "loop_silence_seconds": silence, "hosts": host.hosts, "partitions": host.partitions,
        "partitions_uncovered": host.uncovered, "partitions_parked": host.parked,
        "workers_wanted": host.wanted,
        "partitions_unowned_seconds_total": host.unowned_seconds,
    }  # fmt: skip
    for name, value in plain.items():
        yield _family(name, [((), value)])
    yield _family("partitions_unowned", [] if host.unowned is None else [((), len(host.unowned))])
    yield _family("unowned_seconds", _by_partition(host.unowned or {}))
    yield _family("workers", _by_word(host.workers))
    yield _family("worker_exits_total", _by_word(host.exits))
    yield _family("ownerships_total", _by_word(host.ownerships))
    yield _histograms("gap_seconds", host.gap)


def _of_partitions(host: HostMetrics, samples: Samples) -> Iterator[Family]:
    owned = host.owned
    yield _family("owner", _by_partition(dict.fromkeys(owned, 1)))
    yield _family("offset", _by_partition(host.offsets))
    yield _family("lag_records", _by_partition({p: lag for p, lag in samples.lags.items() if p in owned}))
    states = {partition: each.state for partition, each in owned.items() if each.state is not None}
    yield _family("state_keys", _by_partition({p: keys for p, (keys, _) in states.items()}))
    yield _family("state_bytes", _by_partition({p: size for p, (_, size) in states.items()}))
    yield _family(
        "step_open_seconds", _by_partition({p: o.step_age for p, o in owned.items() if o.step_age is not None})
    )
    yield _family("worker_memory_bytes", _by_partition(samples.memory))
    yield _family("worker_cpu_seconds_total", _by_partition(samples.cpu_seconds))
    counters = {
        "records_total": "records", "handler_seconds_total": "handler_seconds", "record_retries_total": "retries",
        "records_skipped_total": "skipped", "dead_letters_total": "dead_letters", "commits_total": "commits",
        "commit_retries_total": "commit_retries", "commits_refused_total": "commits_refused",
        "suspended_seconds_total": "suspended_seconds", "outputs_total": "outputs",
        "transactions_total": "transactions", "transactions_aborted_total": "transactions_aborted",
        "transactions_given_up_total": "transactions_given_up",
    }  # fmt: skip
    for name, field in counters.items():
        yield _family(name, _by_partition({p: _count(each, field) for p, each in host.totals.items()}))


def _of_commits_and_leases(host: HostMetrics) -> Iterator[Family]:
    histograms = {
        "commit_seconds": host.commit_seconds, "transaction_seconds": host.transaction_seconds,
        "lease_left_seconds": host.lease_left,
    }  # fmt: skip
    for name, histogram in histograms.items():
        if histogram is not None:
            yield _histograms(name, {"": histogram})
    if host.least_lease_left is not None:
        yield _family("lease_least_left_seconds", [((), host.least_lease_left)])


def _of_surroundings(host: HostMetrics, samples: Samples, copies_failed: int) -> Iterator[Family]:
    yield _family("etcd_up", [((endpoint,), up) for endpoint, up in samples.etcd_up.items()])
    yield _family("etcd_database_bytes", _by_word(samples.etcd_bytes))
    yield _family("etcd_quota_bytes", _by_word(samples.etcd_quota))
    yield _family("etcd_alarm", _by_word({"NOSPACE": 0, "CORRUPT": 0, **dict.fromkeys(samples.etcd_alarms, 1)}))
    for name, seconds in (("etcd_read_seconds", samples.etcd_seconds), ("kafka_read_seconds", samples.kafka_seconds)):
        if seconds is not None:
            yield _family(name, [((), seconds)])
    yield _family("kafka_up", [((), host.kafka_answers)])
    yield _family("offset_copy_failures_total", [((), copies_failed)])


def _family(name: str, values: Labelled) -> Family:
    metric = BY_NAME[PREFIX + name]
    kind: Any = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, float(value))
    made: Family = family
    return made


def _histograms(name: str, found: Mapping[str, Histogram]) -> Family:
    """`found`: by the value of its only label, if it has one."""
    metric = BY_NAME[PREFIX + name]
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, histogram in found.items():
        bounds = [*(f"{each:g}" for each in histogram.bounds), "+Inf"]
        cumulated, count = [], 0
        for bound, more in zip(bounds, histogram.buckets, strict=True):
            count += more
            cumulated.append((bound, count))
        family.add_metric([label] if metric.labels else [], cumulated, histogram.sum)
    return family


def _by_partition(values: Mapping[Partition, float]) -> Labelled:
    return [((p.topic, str(p.number)), value) for p, value in sorted(values.items())]


def _by_word(values: Mapping[str, float]) -> Labelled:
    return [((word,), value) for word, value in sorted(values.items())]


def _count(totals: PartitionTotals, field: str) -> float:
    value: float = getattr(totals, field)
    return value
