"""Orders and history from outside: real supervisors, told through the command alone."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from partition_supervisor.dev.services import Services
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import Parked, now
from tests.conftest import MakeCluster
from tests.eventually import eventually
from tests.system.console import OPTIONS, Console, assert_nothing_was_lost, hosts_of_owners, is_balanced

pytestmark = pytest.mark.timeout(120)


# --- pause and resume


def test_pause_stops_exactly_that_partition_and_resume_goes_on_at_the_same_record(console: Console) -> None:
    cluster, third = console.cluster, console.partition(3)
    tokens = cluster.judge.tokens()

    printed = console.done("pause", str(third), "--reason", "to look at it", "--wait")

    assert printed == f"{third} is paused\n"
    owners = cluster.judge.owners()
    assert sorted(p.number for p in owners) == [0, 1, 2]
    paused_at, others_at = cluster.judge.offset(third).offset, cluster.judge.offsets()
    eventually(
        "the others go on",
        lambda: all(cluster.judge.offsets()[p] > others_at[p] + 100 for p in owners),
    )
    assert {p: token for p, token in cluster.judge.tokens().items() if p != third} == {
        p: token for p, token in tokens.items() if p != third
    }
    assert third not in cluster.judge.owners()
    assert cluster.judge.offset(third).offset == paused_at
    assert "was parked already" in console.done("pause", str(third), "--reason", "another")

    printed = console.done("resume", "--wait", kafka=True)

    assert f"{third} goes on at offset {paused_at:,}" in printed
    assert "paused: to look at it" in printed
    newest = eventually("it is in the history", lambda: cluster.judge.history(third)[-1])
    assert newest.from_offset == paused_at
    assert_nothing_was_lost(cluster)


def test_pause_and_resume_without_names_are_about_all(console: Console) -> None:
    cluster = console.cluster
    assert len(console.done("pause", "--wait").splitlines()) == 4
    assert not cluster.judge.owners()
    assert len(console.done("resume", "--wait", kafka=True).splitlines()) == 4
    assert len(cluster.judge.owners()) == 4
    assert_nothing_was_lost(cluster)


def test_a_wait_that_is_too_short_says_what_is_missing(quiet: Console) -> None:
    partition = quiet.partition(0)
    key = quiet.cluster.keys.parked(partition)
    quiet.cluster.store.transact(Txn((), (Put(key, Parked(3, "poison", "host-a", now()).encode()),)))

    ended = quiet("resume", str(partition), "--wait", "0.3", kafka=True)

    assert ended.returncode == 3
    assert "goes on at offset 3; it was parked since" in ended.stdout
    assert f"{partition} has no owner: no supervisor is running" in ended.stderr


# --- drain


def test_a_drained_host_hands_everything_over(console: Console) -> None:
    cluster = console.cluster
    host = "host-a"
    before = {entry["token"] for entry in console.history()}

    ended = console("drain", host, "--wait")

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert hosts_of_owners(cluster) == dict.fromkeys(range(4), "host-b")
    new = [entry for entry in console.history() if entry["token"] not in before]
    assert new
    assert {entry["cause"] for entry in new} == {"handed-over"}
    assert {entry["host"] for entry in new} == {"host-b"}
    assert cluster.hosts[host].is_running

    assert console.done("drain", host, "--undo") == f"{host} takes partitions again\n"
    eventually("it owns two again", lambda: is_balanced(cluster), deadline=20)
    assert_nothing_was_lost(cluster)


def test_draining_the_last_host_warns_and_loses_nothing(make_cluster: MakeCluster, services: Services) -> None:
    cluster = make_cluster(options=OPTIONS, rate=800.0, hosts=("only",))
    cluster.start()
    cluster.load.start()
    console = Console(cluster, services)

    ended = console("drain", "only", "--wait", "2")

    assert ended.returncode == 3
    assert "warning: no other host is there" in ended.stderr
    assert "only still owns" in ended.stderr
    assert hosts_of_owners(cluster) == dict.fromkeys(range(4), "only")
    assert_nothing_was_lost(cluster)


# --- move


def test_a_move_pins_until_it_is_taken_back(console: Console) -> None:
    cluster = console.cluster
    ours = [number for number, host in hosts_of_owners(cluster).items() if host == "host-a"]

    for number in ours:
        console.done("move", str(console.partition(number)), "--to", "host-b", "--wait")

    assert [hosts_of_owners(cluster)[number] for number in ours] == ["host-b"] * 2
    pinned_since = time.monotonic()
    eventually(
        "both hosts own two again, and these stay",
        lambda: is_balanced(cluster) and time.monotonic() > pinned_since + 2.0,
        20,
    )
    assert [hosts_of_owners(cluster)[number] for number in ours] == ["host-b"] * 2
    assert console.done("move", str(console.partition(ours[0])), "--anywhere").endswith("bound to host-b\n")
    assert_nothing_was_lost(cluster)


# --- offsets


def test_a_reset_is_refused_while_owned_and_reads_everything_again_after_a_pause(console: Console) -> None:
    cluster, first = console.cluster, console.partition(0)
    reset = ("reset", str(first), "--to-earliest", "--drop-state")

    refused = console.offsets(*reset, "--execute")
    assert refused.returncode == 3
    assert "has an owner (host-" in refused.stderr
    assert f"partition-supervisor pause {first} --wait" in refused.stderr

    console.done("pause", str(first), "--wait")
    stored, state = cluster.judge.offset(first), cluster.judge.state(first)
    shown = console.offsets(*reset)
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["PARTITION", "CURRENT-OFFSET", "NEW-OFFSET"],
        [str(first), str(stored.offset), "0"],
    ]
    assert shown.stderr.endswith("nothing was changed; add --execute\n")
    assert (cluster.judge.offset(first), cluster.judge.state(first)) == (stored, state)

    executed = console.offsets(*reset, "--execute", "-o", "json")
    assert executed.returncode == 0, executed.stderr
    assert f"resume {first}" in executed.stderr
    document = json.loads(executed.stdout)
    assert (document["executed"], document["state_dropped"]) == (True, True)
    assert [(each["offset"], each["new_offset"]) for each in document["offsets"]] == [(stored.offset, 0)]
    after = cluster.judge.offset(first)
    assert (after.offset, after.token, after.sequence) == (0, stored.token, 0)
    assert cluster.judge.state(first) == {}

    console.done("resume", str(first), "--wait", kafka=True)
    assert_nothing_was_lost(cluster)
    newest = cluster.judge.history(first)[-1]
    assert newest.from_offset == 0
    assert newest.token > stored.token


def test_show_tells_how_far_each_is_and_who_owns_it(console: Console) -> None:
    console.done("pause", str(console.partition(2)), "--wait")
    shown = json.loads(console.done("offsets", "show", "-o", "json", kafka=True))
    assert shown["schema_version"] == 1
    assert [each["partition"] for each in shown["offsets"]] == [0, 1, 2, 3]
    for each in shown["offsets"]:
        assert list(each) == [
            "topic", "partition", "offset", "end_offset", "lag", "token", "committed_at", "prepared", "owner",
        ]  # fmt: skip
        assert each["end_offset"] >= each["offset"] > 0
        assert (each["owner"] is None) == (each["partition"] == 2)
    table = console.done("offsets", "show", kafka=True)
    assert "LOG-END-OFFSET" in table
    assert "(parked)" in table
    assert "\x1b" not in table


def test_all_ways_to_aim_without_anything_running(quiet: Console) -> None:
    cluster = quiet.cluster
    begun = now()
    cluster.load.start()
    eventually("records are produced", lambda: min(cluster.load.produced) > 100)
    end = cluster.load.stop()[1]
    second = str(quiet.partition(1))

    def aimed(*words: str) -> tuple[int, str]:
        ended = quiet.offsets("reset", second, *words, "--execute", "-o", "json")
        assert ended.returncode == 0, ended.stderr
        [only] = json.loads(ended.stdout)["offsets"]
        assert cluster.judge.offset(quiet.partition(1)).offset == only["new_offset"]
        return only["new_offset"], ended.stderr

    assert quiet.offsets("reset", second, "--shift-by", "1", "--execute").returncode == 3
    assert aimed("--to-latest")[0] == end
    assert aimed("--to-earliest")[0] == 0
    assert aimed("--to-offset", "50")[0] == 50
    assert aimed("--shift-by", "7")[0] == 57
    assert aimed("--shift-by=-8")[0] == 49
    if quiet.services.kind != "embedded":  # librdkafka's mock cluster knows no times, and answers with the end
        assert aimed("--to-datetime", begun)[0] == 0
    assert aimed("--to-datetime", "2100-01-01")[0] == end
    offset, remarks = aimed("--to-offset", "999999")
    assert offset == end
    assert f"{second}: 999999 is past the end: {end} is taken" in remarks
    assert "the state stays as it is" in remarks
    of_topic = json.loads(quiet.offsets("reset", "-t", cluster.topic, "--to-offset", "3", "-o", "json").stdout)
    assert [(each["partition"], each["new_offset"]) for each in of_topic["offsets"]] == [(n, 3) for n in range(4)]


# --- history


def test_history_tells_of_a_kill_in_words_and_as_json(console: Console) -> None:
    cluster, judge = console.cluster, console.cluster.judge
    partition, lock = min(judge.owners().items())
    token = judge.tokens()[partition]
    os.kill(lock.pid, signal.SIGKILL)
    eventually("its heir has handled a record", lambda: judge.history(partition)[-1].gap)
    eventually("its own end is told", lambda: judge.history(partition)[-2].until)

    *_, before, newest = console.history(str(partition))
    assert set(newest) == {
        "topic", "partition", "token", "worker", "host", "pid", "cause", "since", "from_offset", "last_commit", "gap",
        "until", "to_offset", "ending", "reason", "step",
    }  # fmt: skip
    assert (before["token"], before["ending"], before["pid"]) == (token, "died", lock.pid)
    assert (newest["topic"], newest["partition"], newest["cause"]) == (*partition, "taken-over")
    assert newest["host"] != lock.host
    assert before["to_offset"] == newest["from_offset"]

    words = console.done("history", str(partition), "--last", "2").splitlines()
    assert len(words) == 4
    assert re.fullmatch(r" +until [\d: .-]+, offset [\d,]+: died", words[1]), words[1]
    name = re.escape(str(partition))
    assert re.fullmatch(
        rf"[\d: .-]+  {name}  {newest['host']} \(pid {newest['pid']}\) took over from {lock.host}"
        rf" at offset {newest['from_offset']:,}, token {newest['token']}: [\d.]+ m?s after the exit was seen"
        r" \(lock [\d.]+ m?s, state [\d.]+ m?s, first record [\d.]+ m?s\)",
        words[2],
    ), words[2]
    assert words[3].strip() == "still the owner"
    everything = [entry["token"] for entry in console.history()]
    assert everything == sorted(everything)
    assert len(everything) >= 5
    assert_nothing_was_lost(cluster)


def test_a_group_without_history_says_so(quiet: Console) -> None:
    ended = quiet("history")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert quiet.cluster.group in ended.stderr
    assert quiet.history() == []
