"""The state that a handler sees: a plain dict, that knows what of it has to be written."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from partition_workers.errors import StateInvalid
from partition_workers.state import mapping as state_module
from partition_workers.state.mapping import State

SMALL = state_module.SMALL_KEYS, state_module.SMALL_BYTES
TEXT = st.text(max_size=4)
NAMES = st.sampled_from(["a", "b", "c", "ä/ö", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def exactly(value: Any) -> str:
    """JSON in which 1, 1.0 and true are different, and the order of keys at the top is not."""
    return json.dumps(sorted((key, json.dumps(each)) for key, each in value.items()))


def apply(stored: dict[str, bytes], changes: dict[str, bytes | None]) -> None:
    for key, change in changes.items():
        if change is None:
            del stored[key]
        else:
            assert stored.get(key) != change, f"{key!r} was written without need"
            stored[key] = change


class StateMachine(RuleBasedStateMachine):
    """`model` is what a plain dict would be, `at_cut` what it was at the last cut, `stored` what a store holds."""

    @initialize(
        stored=st.dictionaries(NAMES, VALUES, max_size=4),
        small=st.sampled_from([(0, 4096), (2, 4096), (32, 10), (32, 4096)]),
    )
    def begin(self, stored: dict[str, Any], small: tuple[int, int]) -> None:
        state_module.SMALL_KEYS, state_module.SMALL_BYTES = small
        self.stored: dict[str, bytes] = {}
        self.state = State()
        self.state.update(copy.deepcopy(stored))
        self.model = copy.deepcopy(stored)
        self.at_cut: dict[str, Any] = {}
        self.cut()
        self.state = State(self.stored)  # as after a takeover

    @rule(key=NAMES, value=VALUES)
    def set(self, key: str, value: Any) -> None:
        self.state[key] = copy.deepcopy(value)
        self.model[key] = copy.deepcopy(value)

    @rule(key=NAMES)
    def write_the_same_again(self, key: str) -> None:
        if key in self.model:
            self.state[key] = copy.deepcopy(self.model[key])

    @rule(key=NAMES)
    def delete(self, key: str) -> None:
        if key in self.model:
            del self.state[key]
            del self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.state[key]

    @rule(key=NAMES)
    def pop(self, key: str) -> None:
        if key in self.model:
            assert json.dumps(self.state.pop(key)) == json.dumps(self.model.pop(key))
        else:
            with pytest.raises(KeyError):
                self.state.pop(key)
            assert self.state.pop(key, "none") == "none"

    @rule()
    def popitem(self) -> None:
        if self.model:
            key, value = self.state.popitem()
            assert json.dumps(value) == json.dumps(self.model.pop(key))
        else:
            with pytest.raises(KeyError):
                self.state.popitem()

    @rule(key=NAMES, value=VALUES)
    def setdefault(self, key: str, value: Any) -> None:
        got = self.state.setdefault(key, copy.deepcopy(value))
        assert json.dumps(got) == json.dumps(self.model.setdefault(key, copy.deepcopy(value)))

    @rule(more=st.dictionaries(NAMES, VALUES, max_size=3), way=st.integers(0, 2))
    def update(self, more: dict[str, Any], way: int) -> None:
        if way == 0:
            self.state.update(copy.deepcopy(more))
        elif way == 1:
            self.state.update(list(copy.deepcopy(more).items()))
        else:
            self.state |= copy.deepcopy(more)
        self.model.update(copy.deepcopy(more))

    @rule(key=NAMES, name=TEXT, value=VALUES)
    def change_in_place(self, key: str, name: str, value: Any) -> None:
        if key not in self.model:
            return
        for mine, each in ((self.state[key], copy.deepcopy(value)), (self.model[key], copy.deepcopy(value))):
            if isinstance(mine, list):
                mine.append(each)
            elif isinstance(mine, dict):
                mine[name] = each

    @rule(key=NAMES)
    def change_far_inside(self, key: str) -> None:
        if key not in self.model:
            return
        for mine in (self.state[key], self.model[key]):
            for inner in mine if isinstance(mine, list) else mine.values() if isinstance(mine, dict) else ():
                if isinstance(inner, list):
                    inner.append("far inside")
                elif isinstance(inner, dict):
                    inner["far"] = "inside"

    @rule()
    def clear(self) -> None:
        self.state.clear()
        self.model.clear()

    @rule(key=NAMES)
    def get(self, key: str) -> None:
        assert json.dumps(self.state.get(key, "none")) == json.dumps(self.model.get(key, "none"))
        assert (key in self.state) is (key in self.model)
        if key not in self.model:
            with pytest.raises(KeyError):
                self.state[key]

    @rule()
    def rollback(self) -> None:
        self.state.rollback()
        self.model = copy.deepcopy(self.at_cut)

    @rule()
    def cut(self) -> None:
        before = exactly(self.model)
        changes = self.state.changes()
        assert len(changes) <= self.state.touched()
        assert all(change is not None or key in self.stored for key, change in changes.items())
        apply(self.stored, changes)
        self.state.accept(changes)
        assert exactly({key: json.loads(value) for key, value in self.stored.items()}) == before
        assert self.state.touched() == (len(self.model) if type(self.state) is state_module.Whole else 0)
        self.at_cut = copy.deepcopy(self.model)

    @rule()
    def a_second_cut_finds_nothing(self) -> None:
        self.cut()
        assert self.state.changes() == {}

    @rule(key=NAMES, value=st.sampled_from([object(), {1, 2}, b"bytes", float("nan"), [1j]]))
    def leave_what_is_not_json(self, key: str, value: Any) -> None:
        self.state[key] = value
        with pytest.raises(StateInvalid):
            self.state.changes()
        self.rollback()

    @invariant()
    def it_looks_like_a_dict(self) -> None:
        assert sorted(self.state) == sorted(self.state.keys()) == sorted(self.model)
        assert len(self.state) == len(self.model)
        assert bool(self.state) is bool(self.model)

    def teardown(self) -> None:
        state_module.SMALL_KEYS, state_module.SMALL_BYTES = SMALL


TestAnySequence = StateMachine.TestCase
TestAnySequence.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def stored(**values: Any) -> State:
    """A state as it is after a takeover: everything stored, nothing touched."""
    return State({key: json.dumps(value, separators=(",", ":")).encode() for key, value in values.items()})


class TestWhatIsWritten:
    def test_reading_writes_nothing(self) -> None:
        """Values that were only looked at are no changes."""
        state = stored(a=1, b=[1, 2], c={"d": None})
        assert (state["a"], state.get("b"), dict(state.items())["c"]) == (1, [1, 2], {"d": None})
        assert state.changes() == {}

    def test_a_value_that_was_changed_and_changed_back_is_not_written(self) -> None:
        """What counts is the difference from the last cut, not what happened in between."""
        state = stored(a=[1])
        state["a"].append(2)
        state["a"].pop()
        del state["a"]
        state["a"] = [1]
        assert state.changes() == {}

    def test_a_change_inside_a_list_is_noticed(self) -> None:
        """Nobody has to tell the state that a list or a dict in it was changed."""
        state = stored(a={"b": [1]})
        state["a"]["b"].append(2)
        assert state.changes() == {"a": b'{"b":[1,2]}'}

    def test_one_and_true_are_different(self) -> None:
        """Values that Python holds for equal are written when their JSON differs."""
        state = stored(a=1)
        state["a"] = True
        assert state.changes() == {"a": b"true"}

    def test_a_new_key_that_is_deleted_again_is_not_written(self) -> None:
        """Deleting what was never stored writes nothing."""
        state = stored()
        state["a"] = 1
        del state["a"]
        assert state.changes() == {}
        assert not state

    def test_deletions_are_told_until_the_cut(self) -> None:
        """A deleted key is a change to None, once."""
        state = stored(a=1, b=2)
        state.clear()
        changes = state.changes()
        assert changes == {"a": None, "b": None}
        state.accept(changes)
        assert state.changes() == {}
        assert "a" not in state

    def test_rollback_brings_everything_back(self) -> None:
        """After a rollback the state is what it was at the last cut."""
        state = stored(a=[1], b=2)
        state["a"].append(2)
        del state["b"]
        state["c"] = 3
        state.rollback()
        assert state == {"a": [1], "b": 2}
        assert state.changes() == {}


class TestSmallAndLarge:
    """A small state is held as a whole, and nobody notices."""

    def test_it_grows_and_shrinks(self) -> None:
        state = State()
        for number in range(40):
            state[f"key{number}"] = [number]
            state.accept(state.changes())
            assert (type(state) is state_module.Whole) == (number < state_module.SMALL_KEYS)
            assert state.get("key0") == [0]
            assert state.get("none", 7) == 7
        for number in range(40):
            del state[f"key{number}"]
            assert state.get(f"key{number}") is None
            state.accept(state.changes())
        assert type(state) is state_module.Whole

    def test_large_values_are_not_made_json_of_for_nothing(self) -> None:
        state = stored(text="x" * 5000, count=1)
        assert type(state) is State
        assert state.get("count") == 1
        assert state.touched() == 1

    def test_a_value_is_what_it_is_after_a_takeover(self) -> None:
        state = stored(a=[1])
        state["a"] = (1,)
        assert state.changes() == {}
        state.accept({})
        assert state["a"] == [1]


class TestInvalid:
    @pytest.mark.parametrize("value", [object(), {1}, b"x", float("nan"), float("inf"), "\ud800", [[{"a": 1j}]]])
    def test_a_value_that_is_not_json_is_refused_by_its_key(self, value: Any) -> None:
        """The error names the key, and nothing has changed."""
        state = stored(a=1)
        state["bad"] = value
        state["a"] = 2
        with pytest.raises(StateInvalid, match="state\\['bad'\\]"):
            state.changes()
        state.rollback()
        assert state == {"a": 1}

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        """A circle is not JSON."""
        state = stored(a=[])
        state["a"].append(state["a"])
        with pytest.raises(StateInvalid):
            state.changes()

    @pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
    def test_a_key_that_is_not_text_is_refused(self, key: Any) -> None:
        """The error shows the key and its type."""
        state = stored()
        state[key] = 1
        with pytest.raises(StateInvalid, match=type(key).__name__):
            state.changes()
        state.rollback()
        assert state == {}

    def test_a_key_inside_a_value_that_is_not_text_is_refused(self) -> None:
        """JSON would turn it into text silently, and after the cut the handler would not find it any more."""
        state = stored()
        state["counts"] = {7: 1}
        with pytest.raises(StateInvalid, match="counts"):
            state.changes()

    def test_a_key_that_cannot_be_written_as_utf8_is_refused(self) -> None:
        """A lone surrogate in a key is found at the cut, not by the client of etcd."""
        state = stored()
        state["\ud800"] = 1
        with pytest.raises(StateInvalid):
            state.changes()


class TestLikeADict:
    def test_it_is_copied_in_full_whatever_was_touched(self) -> None:
        """dict(), ** and copy() see stored values that nobody has touched."""

        def names(**values: Any) -> dict[str, Any]:
            return values

        whole = {"a": 1, "b": 2}
        assert dict(stored(**whole)) == whole
        assert {**stored(**whole)} == whole
        assert names(**stored(**whole)) == whole
        assert stored(**whole).copy() == whole
        assert copy.deepcopy(stored(**whole)) == whole
        assert stored(a=1) | {"b": 2} == whole
        assert {"a": 1} | stored(b=2) == whole
        assert list(reversed(stored(**whole))) == ["b", "a"]
        assert repr(stored(**whole)) == "State({'a': 1, 'b': 2})"

    def test_equal_to_a_dict_with_the_same_values(self) -> None:
        """Comparison looks at stored values too, from both sides."""
        assert stored(a=1) == {"a": 1}
        assert stored(a=1) == {"a": 1}
        assert not stored(a=1) == {"a": 2}  # noqa: SIM201
        assert not stored(a=1) == 1  # noqa: SIM201

    def test_unequal_is_the_opposite_of_equal(self) -> None:
        """`!=` looks at stored values as well, touched or not."""
        assert not stored(a=1) != {"a": 1}  # noqa: SIM202
        assert not stored(a=1) != {"a": 1}  # noqa: SIM202
        assert stored(a=1) != {}

    def test_it_cannot_be_hashed(self) -> None:
        """As a dict."""
        with pytest.raises(TypeError):
            hash(stored())
