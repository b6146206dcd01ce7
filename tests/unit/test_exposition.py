"""What /metrics says, and that the catalogue and what is shown agree."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from partition_supervisor.control.tally import PHASES
from partition_supervisor.host_metrics import GAP_BOUNDS, LEASE_BOUNDS, Histogram, HostMetrics, Owned, PartitionTotals
from partition_supervisor.web.catalogue import GROUP, METRICS, PREFIX
from partition_supervisor.web.exposition import About, exposition
from partition_supervisor.web.sampler import Samples
from partition_workers.counts import COMMIT_BOUNDS
from partition_workers.model import Partition

P, Q = Partition("events", 0), Partition("events", 3)
ABOUT = About("1.2.3", "host-a", "orders", 5.0)

HOST = HostMetrics(
    at=1.0, is_ready=True, reason="", hosts=2, partitions=4, wanted=4, workers={"owner": 1, "standby": 3},
    owned={P: Owned(17, 40, (3, 100), 4.2, 2.5)},
    totals={P: PartitionTotals(records=40, commits=7, outputs=11, transactions=5, transactions_given_up=1)},
    unowned={Q: 1.5}, unowned_seconds=2.5, ownerships={"taken-over": 1}, exits={"killed": 3},
    gap={phase: Histogram(GAP_BOUNDS) for phase in PHASES}, commit_seconds=Histogram(COMMIT_BOUNDS),
    transaction_seconds=Histogram(COMMIT_BOUNDS), lease_left=Histogram(LEASE_BOUNDS), least_lease_left=3.9,
)  # fmt: skip
SAMPLES = Samples(
    memory={P: 5_000_000}, cpu_seconds={P: 1.25}, lags={P: 5, Q: 70}, kafka_seconds=0.01,
    etcd_up={"etcd-1:2379": True},
    etcd_bytes={"etcd-1:2379": 4096}, etcd_quota={"etcd-1:2379": 1 << 31}, etcd_alarms=frozenset({"NOSPACE"}),
    etcd_seconds=0.004,
)  # fmt: skip


def read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def shown(host: HostMetrics = HOST, samples: Samples = SAMPLES) -> bytes:
    return exposition(ABOUT, host, samples, 0.05, 2, 9)


def value(name: str, **labels: str) -> float:
    return read(shown())[key(name, **labels)]


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return PREFIX + name, tuple(sorted({**labels, GROUP: ABOUT.group}.items()))


def test_every_metric_of_the_catalogue_is_shown_and_no_other() -> None:
    """Kind and labels too. Those of the process itself are Prometheus' own."""
    families = {each.name: each for each in text_string_to_metric_families(shown().decode())}
    ours = {name: each for name, each in families.items() if not name.startswith("process_")}
    assert {name + ("_total" if each.type == "counter" else "") for name, each in ours.items()} == {
        each.name for each in METRICS
    }
    for metric in METRICS:
        family = ours[metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name]
        assert family.type == metric.kind, metric.name
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert labels == {frozenset({GROUP, *metric.labels})}, metric.name
        assert {sample.labels[GROUP] for sample in family.samples} == {ABOUT.group}
        assert family.documentation == metric.help


def test_two_groups_that_read_one_topic_have_no_series_in_common() -> None:
    """And one has as many as the other: the group's name makes none more."""

    def series(group: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        found = read(exposition(replace(ABOUT, group=group), HOST, SAMPLES, 0.05, 2, 9))
        return {each for each in found if not each[0].startswith("process_")}

    orders, invoices = series("orders"), series("invoices")
    assert not orders & invoices
    assert len(orders) == len(invoices)


def test_the_values_are_those_that_were_told() -> None:
    assert value("lag_records", topic="events", partition="0") == 5
    assert value("lease_ttl_seconds") == 5.0
    assert value("records_total", topic="events", partition="0") == 40
    assert value("unowned_seconds", topic="events", partition="3") == 1.5
    assert value("step_open_seconds", topic="events", partition="0") == 2.5
    assert value("outputs_total", topic="events", partition="0") == 11
    assert value("transactions_total", topic="events", partition="0") == 5
    assert value("transactions_given_up_total", topic="events", partition="0") == 1
    assert value("partitions_unowned") == 1
    assert value("worker_exits_total", reason="killed") == 3
    assert value("etcd_alarm", alarm="NOSPACE") == 1
    assert value("etcd_alarm", alarm="CORRUPT") == 0
    assert value("log_lines_dropped_total", by="supervisor") == 9
    assert value("info", version="1.2.3", host="host-a") == 1


def test_names_hold_to_the_conventions() -> None:
    """Those that promtool checks: units are seconds and bytes, counters end in _total and nothing else does."""
    for metric in METRICS:
        assert re.fullmatch(PREFIX + r"[a-z][a-z_]*[a-z]", metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", metric.name)
        assert not metric.name.endswith(("_count", "_sum", "_bucket"))
        assert metric.help.endswith(".")


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_counts_each_value_once_and_never_falls_from_bucket_to_bucket(values: list[float]) -> None:
    histogram = Histogram(GAP_BOUNDS)
    for each in values:
        histogram.observe(each)
    text = exposition(ABOUT, HostMetrics(gap={"first_record": histogram}), Samples(), 0.0, 0, 0)
    found = read(text)
    buckets = [
        (float(dict(labels)["le"]), count)
        for (name, labels), count in found.items()
        if name.endswith("gap_seconds_bucket")
    ]
    cumulated = [count for _, count in sorted(buckets)]
    assert cumulated == sorted(cumulated)
    assert cumulated[-1] == len(values)
    assert cumulated[:-1] == [sum(each <= bound for each in values) for bound in GAP_BOUNDS]


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_no_name_breaks_the_text(topic: str, endpoint: str) -> None:
    """Quotes, backslashes, line ends, anything that etcd or a command line may hold."""
    host = HostMetrics(owned={Partition(topic, 0): Owned(1, 1, None, None)})
    found = read(exposition(ABOUT, host, Samples(etcd_up={endpoint: False}), 0.0, 0, 0))
    assert found[key("owner", partition="0", topic=topic)] == 1
    assert found[key("etcd_up", endpoint=endpoint)] == 0


def test_a_host_that_has_only_begun_can_be_asked_too() -> None:
    assert read(exposition(ABOUT, HostMetrics(), Samples(), 0.0, 0, 0))[key("ready")] == 0


def test_what_is_not_owned_here_any_more_has_no_lag_here() -> None:
    """Sampled when it was; now another host tells its own."""
    assert key("lag_records", topic="events", partition="3") not in read(shown())


def test_a_host_that_does_not_know_who_owns_what_does_not_say_so() -> None:
    """Neither that all have owners nor that some have none."""
    names = {name for name, _ in read(shown(replace(HOST, unowned=None)))}
    assert not names & {f"{PREFIX}partitions_unowned", f"{PREFIX}unowned_seconds"}
    assert f"{PREFIX}partitions_unowned_seconds_total" in names
    assert read(shown(replace(HOST, unowned={})))[key("partitions_unowned")] == 0
