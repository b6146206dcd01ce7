"""Changes that are stored as one value: at any moment the state's own keys and they make the whole state."""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers import change_log
from partition_workers.change_log import ChangeLog, Step
from partition_workers.etcd.store import Delete, Put, PutMany, Txn
from partition_workers.layout.changes import Changes, decode, encode, numbered
from partition_workers.layout.document import Unreadable
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership.stored_state import stored_state
from tests.fakes.etcd import FakeEtcd

KEYS, P = Keys("/test/g"), Partition("events", 0)
ROOM = 100_000


class Owner:
    """Does what `Commits` does with the log."""

    def __init__(self, store: FakeEtcd) -> None:
        prefix = KEYS.changes(P)
        self.store = store
        found = numbered(prefix, {e.key.removeprefix(prefix): e.value for e in store.list(prefix).items})
        self.log = ChangeLog(partial(KEYS.change, P), found)

    def commit(self, changes: Changes, most: int = 4000, room: int = ROOM, lands: bool = True) -> Step:
        step = self.log.step(changes, most, room)
        if lands:
            self.store.transact(Txn((), step.operations, many=PutMany(KEYS.state(P), step.direct)))
            self.log.done(step)
        return step

    def entries(self) -> int:
        return len(self.store.list(KEYS.changes(P)).items)


NAMES = st.sampled_from([f"k{number}" for number in range(12)])
VALUES = st.one_of(st.none(), st.sampled_from([b"1", b"22", b'"text"']))


@given(
    commits=st.lists(
        st.tuples(
            st.dictionaries(NAMES, VALUES, max_size=8),
            st.sampled_from([1, 3, 4000]),
            st.sampled_from([0, 5, ROOM]),
            st.sampled_from(["lands", "is refused", "another owner"]),
        ),
        max_size=30,
    ),
    direct=st.integers(0, 4),
    deleted=st.integers(1, 3),
)
def test_what_is_stored_is_the_whole_state_after_each_commit(
    commits: list[tuple[Changes, int, int, str]], direct: int, deleted: int
) -> None:
    store, expected = FakeEtcd(), dict[str, bytes]()
    with mock.patch.multiple(change_log, DIRECT=direct, LEAST=1, IDLE=2, MOST_DELETED=deleted):
        owner = Owner(store)
        for changes, most, room, fate in commits:
            owner.commit(changes, most, room, lands=fate != "is refused")
            if fate != "is refused":
                expected |= {key: value for key, value in changes.items() if value is not None}
                expected = {key: value for key, value in expected.items() if changes.get(key, b"") is not None}
            if fate == "another owner":
                owner = Owner(store)
            assert stored_state(store, KEYS, P) == expected
        for _ in range(100):
            if not owner.log.is_live:
                break
            owner.commit({})
        own = {each.key.removeprefix(KEYS.state(P)): each.value for each in store.list(KEYS.state(P)).items}
    assert (own, owner.entries()) == (expected, 0)


def test_a_commit_of_few_keys_writes_them_as_ever() -> None:
    owner = Owner(FakeEtcd())
    changes: Changes = {f"k{number}": b"1" for number in range(change_log.DIRECT)}
    assert owner.commit(changes) == Step(changes, changes)


def test_many_keys_are_one_value_and_every_later_change_goes_there_as_well() -> None:
    """Or the older value would be found over the newer one."""
    owner = Owner(FakeEtcd())
    many: Changes = {f"k{number:05}": b"1" for number in range(3000)}
    step = owner.commit(many)
    assert [type(each) for each in step.operations] == [Put]
    assert not step.direct
    step = owner.commit({"k00000": b"2", "k02999": b"2"})
    assert len(step.direct) == change_log.LEAST
    assert step.direct["k00000"] == b"2"
    assert stored_state(owner.store, KEYS, P)["k02999"] == b"2"


def test_when_nothing_is_urgent_all_of_it_is_folded() -> None:
    owner = Owner(FakeEtcd())
    owner.commit({f"k{number:05}": b"1" for number in range(9000)})
    commits = 0
    while owner.log.is_live:
        owner.commit({})
        commits += 1
    assert (commits, owner.log.due, owner.entries()) == (5, 0, 0)
    assert len(owner.store.list(KEYS.state(P)).items) == 9000


def test_a_last_word_waits_for_nothing() -> None:
    owner = Owner(FakeEtcd())
    owner.commit({f"k{number:05}": b"1" for number in range(9000)})
    step = owner.commit({"k00001": b"2"}, room=0)
    assert not step.direct
    assert not any(isinstance(each, Delete) for each in step.operations)


def test_changes_at_random_stay_in_proportion_to_the_state() -> None:
    """For ever, however many there are: a successor has to read them."""
    owner = Owner(FakeEtcd())
    keys, longest = 6000, 0
    for round_ in range(300):
        step = {f"k{(round_ * 7919 + number * 104_729) % keys}": b"%d" % round_ for number in range(1500)}
        owner.commit(dict(step))
        longest = max(longest, owner.entries())
    assert longest * 1500 <= (change_log.SHARE + 1) * keys


HARD: Changes = {"": b"1", "a b": None, 'ü\n"': b'"x"', "k": b"[1, {}]", "last": None}


@pytest.mark.parametrize("changes", [{}, {"a": None}, {"a": b"1"}, HARD])
def test_an_entry_is_read_as_it_was_written(changes: Changes) -> None:
    assert decode(encode(changes)) == changes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x" * 20, encode({})),
        ("1", encode({})),
        ("0" * 20, b""),
        ("0" * 20, b"[]"),
        ("0" * 20, b'{"v":2,"keys":[]}'),
        ("0" * 20, b'{"v":1,"keys":["a"]}'),
        ("0" * 20, b'{"v":1,"keys":[1]}\n1'),
        ("0" * 20, b'{"v":1,"keys":[["a"]]}\n1'),
        ("0" * 20, b"\xff\xfe"),
        ("0" * 20, b"[" * 100_000),
    ],
)
def test_what_others_wrote_there_is_named(name: str, value: bytes) -> None:
    with pytest.raises(Unreadable, match=f"the key /changes/{name} holds no changes"):
        numbered("/changes/", {name: value})
