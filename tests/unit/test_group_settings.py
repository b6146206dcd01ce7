"""Where hosts of a group were started differently, in words."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from partition_supervisor.config import Config
from partition_supervisor.events import ClusterListed, PartitionsChanged
from partition_supervisor.group_settings import differences, settings_of
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Host, now
from partition_workers.model import Partition
from tests.fakes.host import MakeHost, running

CONFIG = Config("app:handle", ("x",), "kafka:9092", EtcdOptions(("etcd:2379",)))
HOST = Host(0, "1", 1, "", now(), topics={"x": 4}, settings=settings_of(CONFIG))


def test_hosts_that_are_alike_have_no_differences() -> None:
    """Nor those of which nothing is known: an earlier version does not say it. Topics may grow meanwhile."""
    earlier, larger = Host(0, "0.1", 1, "", now()), dataclasses.replace(HOST, topics={"x": 8})
    assert differences({"a": HOST, "b": HOST, "c": earlier, "d": larger}) == ()


def test_each_difference_is_named_with_its_hosts() -> None:
    slower = dataclasses.replace(HOST, settings={**HOST.settings, "--lease-ttl": "10"}, topics={"y": 1, "x": 4})
    assert differences({"a": HOST, "b": slower, "c": HOST}) == (
        "--lease-ttl is 5 on a, c, but 10 on b",
        "--topic is x on a, c, but x, y on b",
    )


def test_every_setting_of_a_partition_is_compared() -> None:
    """One that a worker gets, and that is not named here, is a matter of each host, or of its machine."""
    own = {"partition", "worker", "host", "lease", "keys", "etcd", "kafka", "topic_id", "start_at", "max_records",
           "log_level", "outputs"}  # fmt: skip
    settings = CONFIG.for_worker(Partition("x", 0), "w", 1, "id", 1)
    named = {name.removeprefix("--").replace("-", "_") for name in settings_of(CONFIG)} - {"start", "output"}
    assert {each.name for each in dataclasses.fields(settings)} - own == named


@pytest.mark.parametrize("as_file", [True, False])
def test_the_handler_is_known_by_what_is_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool
) -> None:
    """And not by where that lies. Nothing is imported for that."""
    monkeypatch.chdir(tmp_path)
    found: list[str] = []
    for text in ("raise SystemExit", "raise SystemExit", "raise SystemExit(1)"):
        folder = tmp_path / f"release{len(found)}"
        folder.mkdir()
        (folder / "app.py").write_text(text)
        where = str(folder / "app.py") if as_file else f"{folder.name}.app"
        found.append(settings_of(dataclasses.replace(CONFIG, handler=f"{where}:handle"))["handler"])
    assert found[0] == found[1] != found[2]
    assert found[0].startswith("app.py:handle (")


def test_a_handler_without_a_file_is_known_by_its_name() -> None:
    assert settings_of(dataclasses.replace(CONFIG, handler="no.such.module:handle"))["handler"] == (
        "no.such.module:handle"
    )


def test_a_difference_is_logged_once(make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    host = make_host(1)
    for name, ttl in (("b", "5"), ("c", "10")):
        document = Host(0, "1", 1, "", now(), settings={"--lease-ttl": ttl})
        host.put(Put(host.keys.host(name), document.encode()))
    running(host)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            host.inbox.post(ClusterListed(host.look()))
            host.settle()
    said = [each.getMessage() for each in caplog.records if "hosts differ" in each.getMessage()]
    assert said == ["hosts differ: --lease-ttl is 5 on b, but 10 on c"]


def test_a_host_plans_for_topics_that_only_others_have(make_host: MakeHost) -> None:
    """So all hosts plan alike: the other one's places are taken by what only it can have."""
    host = make_host(4, workers=4)
    host.put(Put(host.keys.host("b"), Host(4, "1", 1, "", now(), topics={"t": 4, "u": 4}).encode()))
    running(host)
    assert [host.plan_of(each) for each in host.partitions] == ["a"] * 4
    assert [host.plan_of(Partition("u", number)) for number in range(4)] == ["b"] * 4
    assert {child.partition.topic for child in host.children.living} == {"t"}


def test_what_a_host_says_of_its_topics_follows_kafka(make_host: MakeHost) -> None:
    host = running(make_host(2))
    found = {Partition("t", number): "id" for number in range(3)}
    host.inbox.post(PartitionsChanged(found))
    host.settle()
    assert Host.decode(host.value(host.keys.host("a"))).topics == {"t": 3}
