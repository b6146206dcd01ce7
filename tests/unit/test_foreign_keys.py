"""What others write below our root is named; nothing that reads it ends, stands still, or takes it for ours."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.admin.check.group import clock, group
from partition_supervisor.admin.group_documents import decode, draw, suspects
from partition_supervisor.admin.history_text import episodes, in_words
from partition_supervisor.admin.render import complaints, tsv_rows
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.listing import Snapshot
from partition_supervisor.web.group_model import GroupModel, text
from partition_workers.errors import Misconfigured
from partition_workers.etcd.store import Change, KeyValue
from partition_workers.layout.document import Document
from partition_workers.layout.documents import (
    Cause,
    History,
    Host,
    Lock,
    Move,
    Parked,
    Standby,
    StoredOffset,
    holder_of,
    now,
)
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys, is_name
from partition_workers.model import Partition
from partition_workers.ownership import history

KEYS = Keys.of("/x", "g")
P = Partition("events", 3)

#: A key of each kind, and a document that belongs there.
SAMPLES: dict[str, Document] = {
    KEYS.lock(P): Lock("w", "h", 1, "5eed", Cause.ACQUIRED, now()),
    KEYS.standby(P, "w"): Standby("w", "h", 1, "5eed", now()),
    KEYS.host("h"): Host(3, "1", 1, "", now()),
    KEYS.parked(P): Parked(3, "why", "h", now()),
    KEYS.move(P): Move("h", now()),
    KEYS.offset(P): StoredOffset(3, 1, 1, "id", now()),
    KEYS.history(P, 7): History(7, "w", "h", 1, Cause.ACQUIRED, now()),
}

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def wrong_values(draw_from: st.DrawFn) -> tuple[str, bytes]:
    """A key of ours, with bytes, JSON, or a document of its kind in which some fields have another type."""
    key, document = draw_from(st.sampled_from(sorted(SAMPLES.items())))
    fields: dict[str, Any] = json.loads(document.encode())
    for name in draw_from(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        fields[name] = draw_from(ANY_JSON)
    as_json = st.one_of(ANY_JSON, st.just(fields)).map(lambda value: json.dumps(value).encode())
    return key, draw_from(st.one_of(st.binary(max_size=40), as_json))


def item(key: str, value: bytes, lease: int = 7) -> KeyValue:
    return KeyValue(key, value, 1, 5, 5, lease)


def foreign_keys() -> st.SearchStrategy[str]:
    """Below one of our prefixes, spelled as nobody of us would."""
    prefixes = [KEYS.locks, KEYS.standbys, KEYS.hosts, KEYS.control, KEYS.parked_ones, KEYS.moves, KEYS.offsets]
    rests = st.text(st.characters(exclude_categories=())) | st.sampled_from(
        ["events/3", "events/00003/x/y", "events/٣٣٣٣٣", "/00003", "events/-0003", "a\nb"]
    )
    return st.builds(str.__add__, st.sampled_from(prefixes), rests)


@given(st.lists(wrong_values() | st.tuples(foreign_keys(), st.binary(max_size=20)), max_size=4))
def test_whatever_is_there_is_shown_or_named(written: list[tuple[str, bytes]]) -> None:
    """In the loop's picture, in `status`, in the page's model, in `history`; as a change and its deletion, too."""
    items = tuple(item(key, value) for key, value in dict(written).items())
    documents = decode(KEYS, Snapshot(5, items))
    view = draw(documents, {})
    json.dumps(view.as_json())
    list(complaints(view))
    list(tsv_rows(view.partitions))
    cluster, model = ClusterState(KEYS), GroupModel(KEYS, "g")
    model.load(Snapshot(5, items), [each for each in items if each.key.startswith(KEYS.every_history)], 5)
    for each in items:
        cluster.change(Change(each, deleted=False))
        model.change(Change(each, deleted=False))
        cluster.ready_standbys(P)
    assert text(model.as_json()).encode(), "browsers get UTF-8"
    suspects(documents, {P: 2**62}, 0.0)
    list(group(documents, 4, clock()))
    history.tidy(
        [each for each in items if each.key.startswith(KEYS.every_history)], 9, History(9, "", "", 1, "", "")
    )
    for each in items:
        cluster.change(Change(item(each.key, b""), deleted=True))
    left = cluster.locks, cluster.hosts, cluster.parked, cluster.foreign, *cluster.standbys.values()
    assert not any(left)


@given(st.one_of(st.binary(max_size=40), ANY_JSON.map(lambda value: json.dumps(value).encode())))
def test_a_lock_that_nobody_can_read_names_nobody_and_keeps_others_out(value: bytes) -> None:
    """So that no standby tries again and again."""
    cluster = ClusterState(KEYS)
    cluster.change(Change(item(KEYS.lock(P), value), deleted=False))
    assert P in cluster.locks
    assert holder_of(value) == ""
    assert not cluster.locks[P].is_owned


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"v":1,"workers":1e999}'])
def test_json_that_python_chokes_on_is_a_value_error(deep: bytes) -> None:
    with pytest.raises(ValueError, match=r"no JSON|cannot be|without"):
        Host.decode(deep)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"workers": "3"}, "workers cannot be '3'"),
        ({"workers": True}, "workers cannot be True"),
        ({"workers": -1}, "workers cannot be -1"),
        ({"workers": 3.0}, "workers cannot be 3.0"),
        ({"pid": 2**70}, "pid cannot be"),
        ({"draining": 0}, "draining cannot be 0"),
        ({"started": None}, "started cannot be None"),
        ({"v": 2}, "another version"),
        ({"v": "1"}, "another version"),
        ({"v": True}, "another version"),
    ],
)
def test_a_wrong_type_is_named(fields: dict[str, Any], complaint: str) -> None:
    """The field, and what stands in it."""
    value = json.dumps(json.loads(SAMPLES[KEYS.host("h")].encode()) | fields).encode()
    with pytest.raises(ValueError, match=complaint):
        Host.decode(value)


@pytest.mark.parametrize("lease", ["", "0x5", "xyz", "FF", "f" * 16, "f" * 17, "-1", " 5"])
def test_a_lease_is_one_that_etcd_can_have(lease: str) -> None:
    """Whatever is put under it would be refused in a form that nobody expects."""
    with pytest.raises(ValueError, match="lease"):
        Standby.decode(Standby("w", "h", 1, lease).encode())


def test_status_names_what_is_foreign_with_the_command_that_removes_it() -> None:
    """A lock that no lease backs is one of them: it would stand there for ever, and nobody works."""
    lock = SAMPLES[KEYS.lock(P)].encode()
    view = draw(decode(KEYS, Snapshot(5, (item(KEYS.lock(P), lock, lease=0), item(KEYS.host("a"), b"{}")))), {})
    (partition,) = view.partitions
    assert (partition.state, partition.owner) == ("unowned", None)
    lines = [line for line, _ in complaints(view)]
    assert any(KEYS.lock(P) in line and f"etcdctl del {KEYS.lock(P)}" in line for line in lines)
    assert any(KEYS.host("a") in line for line in lines)


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("/x/g/locks/a/00001", "etcdctl del /x/g/locks/a/00001"),
        ("/x/it's", "etcdctl del '/x/it'\"'\"'s'"),
        ("/x/a\nb", "etcdctl del $'/x/a\\x0ab'"),
        ("/x/\udcff'", "etcdctl del $'/x/\\xff\\x27'"),
    ],
)
def test_a_command_can_be_pasted_into_a_shell(key: str, command: str) -> None:
    """Also for names that nobody can type."""
    assert ForeignKey(key, "").command == command


def test_history_passes_over_a_value_of_a_wrong_type() -> None:
    """Times may be any text: they are shown as they are."""
    record = History(7, "w", "h", 1, "no cause", "no time", until="never")
    assert in_words(episodes({P: [record]}, {}), date(2030, 1, 1))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a\nb", "é", "a" * 250, "\udcff", ".", ".."])
def test_what_cannot_be_a_name(name: str) -> None:
    """Hosts, groups and topics stand in keys, in lines and in shells."""
    assert not is_name(name)
    with pytest.raises(Misconfigured, match="--group"):
        Keys.of("/x", name)
    if "/" not in name:
        with pytest.raises(Misconfigured, match="--etcd-prefix"):
            Keys.of(f"/x/{name}/y", "g")
