"""What can be configured, and what cannot."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from partition_supervisor.config import OWNED, Config, most_reasonable_workers
from partition_workers.errors import Misconfigured
from partition_workers.etcd.options import EtcdOptions
from partition_workers.model import Partition

ETCD = EtcdOptions(("localhost:2379",))


def config(**changes: Any) -> Config:
    least: dict[str, Any] = {
        "handler": "m:h",
        "topics": ("events",),
        "bootstrap_servers": "localhost:9092",
        "etcd": ETCD,
    }
    return Config(**least | changes)


@pytest.mark.parametrize(
    ("name", "least", "most", "option"),
    [
        ("lease_ttl", 2, 60, "--lease-ttl"),
        ("commit_interval", 0, 60, "--commit-interval"),
        ("workers", 0, None, "--workers"),
        ("handler_timeout", 0, None, "--handler-timeout"),
        ("graceful_timeout", 0, None, "--graceful-timeout"),
        ("max_retries", 0, None, "--max-retries"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_its_option(
    name: str, least: int, most: int | None, option: str
) -> None:
    """The bounds themselves are allowed."""
    assert getattr(config(**{name: least}), name) == least
    with pytest.raises(Misconfigured, match=option):
        config(**{name: least - 1})
    if most is not None:
        assert getattr(config(**{name: most}), name) == most
        with pytest.raises(Misconfigured, match=f"{option} .*{most}"):
            config(**{name: most + 1})


def test_without_a_topic_there_is_nothing_to_do() -> None:
    """The message names the option."""
    with pytest.raises(Misconfigured, match="--topic"):
        config(topics=())


@pytest.mark.parametrize("changes", [{"group": ""}, {"group": "a/b"}, {"host_id": "a/b"}, {"topics": ("a", "b/c")}])
def test_a_name_that_would_break_a_key_is_refused(changes: dict[str, Any]) -> None:
    """Names are parts of keys in etcd."""
    with pytest.raises(Misconfigured, match="cannot be a name"):
        config(**changes)


@pytest.mark.parametrize("key", sorted(OWNED))
def test_a_property_that_the_promises_rest_upon_is_refused_with_the_reason(key: str) -> None:
    """Whatever its value."""
    with pytest.raises(Misconfigured) as caught:
        config(kafka={key: "true"})
    assert f"-X {key}" in str(caught.value)
    assert OWNED[key] in str(caught.value)


def test_any_other_property_reaches_every_client() -> None:
    """Also those for which we have a value of our own that may be changed."""
    made = config(kafka={"security.protocol": "SSL", "fetch.wait.max.ms": "7"})
    assert made.kafka_client()["security.protocol"] == "SSL"
    assert made.kafka_reader(1)["security.protocol"] == "SSL"
    assert made.kafka_reader(1)["fetch.wait.max.ms"] == "7"


def test_a_reader_never_commits_nor_skips() -> None:
    """Offsets are in etcd, a missing one is an error, aborted records are not seen."""
    reader = config().kafka_reader(1)
    assert (reader["enable.auto.commit"], reader["auto.offset.reset"]) == (False, "error")
    assert reader["isolation.level"] == "read_committed"


@pytest.mark.parametrize("name", ["queued.min.messages", "queued.max.messages.kbytes"])
def test_what_is_fetched_ahead_shrinks_with_the_number_of_readers(name: str) -> None:
    """Down to a floor."""
    made = config()
    sizes = [int(made.kafka_reader(readers)[name]) for readers in (0, 1, 8, 64, 10_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0
    assert sizes[0] == sizes[1]


def test_a_worker_gets_everything_it_needs() -> None:
    """Settings, keys and addresses are those of its supervisor."""
    made = config(group="g", host_id="h", lease_ttl=7, commit_interval=0.5)
    settings = made.for_worker(Partition("events", 3), "w", 42, "id", 1)
    assert (settings.partition, settings.worker, settings.lease, settings.topic_id) == (("events", 3), "w", 42, "id")
    assert (settings.host, settings.keys.root, settings.etcd) == ("h", "/partition-supervisor/g", ETCD)
    assert (settings.lease_ttl, settings.commit_interval) == (7, 0.5)
    assert settings.kafka == made.kafka_reader(1)


def test_clients_of_kafka_connect_anew_soon_after_the_network_is_whole() -> None:
    """By themselves they would wait for half a minute and more. Whoever knows better can say so."""
    asking, reading = config().kafka_client(), config().kafka_reader(1)
    for each in (asking, reading):
        assert int(each["reconnect.backoff.max.ms"]) <= 1_000
        assert int(each["socket.connection.setup.timeout.ms"]) <= 5_000
    assert int(asking["socket.timeout.ms"]) <= 5_000
    assert "socket.timeout.ms" not in reading, "on a slow line a list of records takes its time"
    patient = config(kafka={"socket.timeout.ms": "60000", "reconnect.backoff.max.ms": "10000"})
    for each in (patient.kafka_client(), patient.kafka_reader(1)):
        assert (each["socket.timeout.ms"], each["reconnect.backoff.max.ms"]) == ("60000", "10000")
    AdminClient(config().kafka_client())
    Consumer(config().kafka_reader(1)).close()


def test_there_is_a_number_of_workers_that_deserves_a_warning() -> None:
    """It grows with the processors."""
    assert most_reasonable_workers() >= 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"listen": "node:port"}, "--listen node:port: write HOST or HOST:PORT"),
        ({"listen": ":7400"}, "--listen :7400: write"),
        ({"listen": "node:70000"}, "--listen node:70000"),
        ({"http": "node"}, "--http node: write it as HOST:PORT"),
        ({"http": "node:" + "9" * 5000}, "write it as HOST:PORT"),
        ({"advertise": "node:port"}, "--advertise node:port: write"),
        ({"advertise": "0.0.0.0:7400"}, "--advertise 0.0.0.0:7400: nobody can connect there"),
        ({"advertise": "[::]"}, "nobody can connect there"),
        ({"advertise": "none"}, "nobody can connect there"),
        ({"advertise": "node", "listen": "none"}, "with --listen none leave it out"),
    ],
)
def test_where_nobody_can_be_reached_is_refused(changes: dict[str, Any], message: str) -> None:
    """With the option that is wrong, and how to write it."""
    with pytest.raises(Misconfigured) as refused:
        config(**changes)
    assert message in str(refused.value)


@pytest.mark.parametrize("listen", ["", "none", "node", "node:0", "0.0.0.0:7400", "[::1]:7400", "::1"])
def test_where_one_can_listen_is_taken(listen: str) -> None:
    assert config(listen=listen, advertise="" if listen == "none" else "node.example:7400").listen == listen


@pytest.mark.parametrize("name", ["a b", "a\nb", "\udcff", "", "x" * 256, "a:b"])
def test_a_host_id_is_one_word(name: str) -> None:
    """Hosts say it to each other in a line of text."""
    with pytest.raises(Misconfigured, match="--host-id"):
        config(host_id=name)
