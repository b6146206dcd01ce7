"""The state that a handler sees: it is like a dict, knows what of it has to be written, and reads back plain."""

from __future__ import annotations

import copy
import importlib.util
import json
import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from partition_workers.errors import StateInvalid
from partition_workers.state.mapping import State

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


def leave(state: State, key: str, value: Any) -> None:
    state[key] = value
    state.settle()


def encoders() -> list[Callable[[Any], object]]:
    """Those of other packages that are installed here."""
    names = [name for name in ("orjson", "ujson", "simplejson") if importlib.util.find_spec(name)]
    return [importlib.import_module(name).dumps for name in names]


def apply(stored: dict[str, bytes], changes: dict[str, bytes | None]) -> None:
    for key, change in changes.items():
        if change is None:
            del stored[key]
        else:
            assert stored.get(key) != change, f"{key!r} was written without need"
            stored[key] = change


class StateMachine(RuleBasedStateMachine):
    """`model` is what a plain dict would be, `at_cut` what it was at the last cut, `stored` what a store holds."""

    @initialize(stored=st.dictionaries(NAMES, VALUES, max_size=4))
    def begin(self, stored: dict[str, Any]) -> None:
        self.stored: dict[str, bytes] = {}
        self.state = State()
        self.state.update(copy.deepcopy(stored))
        self.model = copy.deepcopy(stored)
        self.at_cut: dict[str, Any] = {}
        self.cut()
        self.take_over()

    @rule()
    def take_over(self) -> None:
        """Another owner reads what is stored."""
        self.state = State(dict(self.stored))
        self.model = copy.deepcopy(self.at_cut)

    @rule()
    def the_call_ends(self) -> None:
        self.state.settle()
        assert not self.state.unsettled

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
            assert key == max(self.model)
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
        self.state.settle()
        changes = self.state.changes()
        assert len(changes) <= self.state.touched()
        assert all(change is not None or key in self.stored for key, change in changes.items())
        apply(self.stored, changes)
        self.state.accept()
        assert exactly({key: json.loads(value) for key, value in self.stored.items()}) == before
        assert self.state.touched() == 0
        self.at_cut = copy.deepcopy(self.model)

    @rule()
    def a_second_cut_finds_nothing(self) -> None:
        self.cut()
        assert self.state.changes() == {}

    @rule(key=NAMES, value=st.sampled_from([object(), {1, 2}, b"bytes", float("nan"), [1j]]))
    def leave_what_is_not_json(self, key: str, value: Any) -> None:
        with pytest.raises(StateInvalid):
            leave(self.state, key, value)
        self.rollback()

    @invariant()
    def it_looks_like_a_dict(self) -> None:
        assert list(self.state) == list(self.state.keys()) == sorted(self.model)
        assert len(self.state) == len(self.model)
        assert bool(self.state) is bool(self.model)
        assert exactly(self.state.to_dict()) == exactly(self.model)


TestAnySequence = StateMachine.TestCase
TestAnySequence.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def stored(**values: Any) -> State:
    """A state as it is after a takeover: everything stored, nothing touched."""
    return State({key: json.dumps(value, separators=(",", ":")).encode() for key, value in values.items()})


def changes_of(state: State) -> dict[str, bytes | None]:
    """After the end of the call."""
    state.settle()
    return state.changes()


class TestWhatIsWritten:
    def test_reading_writes_nothing(self) -> None:
        """Values that were only looked at are no changes."""
        state = stored(a=1, b=[1, 2], c={"d": None})
        assert (state["a"], state.get("b"), dict(state.items())["c"]) == (1, [1, 2], {"d": None})
        assert changes_of(state) == {}

    def test_a_value_that_was_changed_and_changed_back_is_not_written(self) -> None:
        """What counts is the difference from the last cut, not what happened in between."""
        state = stored(a=[1])
        state["a"].append(2)
        state["a"].pop()
        del state["a"]
        state["a"] = [1]
        assert changes_of(state) == {}

    def test_a_change_inside_a_list_is_noticed(self) -> None:
        """Nobody has to tell the state that a list or a dict in it was changed."""
        state = stored(a={"b": [1]})
        state["a"]["b"].append(2)
        assert changes_of(state) == {"a": b'{"b":[1,2]}'}

    def test_one_and_true_are_different(self) -> None:
        """Values that Python holds for equal are written when their JSON differs."""
        state = stored(a=1)
        state["a"] = True
        assert changes_of(state) == {"a": b"true"}

    def test_a_new_key_that_is_deleted_again_is_not_written(self) -> None:
        """Deleting what was never stored writes nothing."""
        state = stored()
        state["a"] = 1
        del state["a"]
        assert changes_of(state) == {}
        assert not state

    def test_deletions_are_told_until_the_cut(self) -> None:
        """A deleted key is a change to None, once."""
        state = stored(a=1, b=2)
        state.clear()
        assert changes_of(state) == {"a": None, "b": None}
        state.accept()
        assert changes_of(state) == {}
        assert "a" not in state

    def test_a_float_that_only_looks_equal_is_written(self) -> None:
        """0.0 and -0.0 are equal, and different JSON; so are 1 and 1.0."""
        state = stored(a=0.0, b=1)
        state["a"], state["b"] = -0.0, 1.0
        assert changes_of(state) == {"a": b"-0.0", "b": b"1.0"}

    def test_looking_at_many_values_touches_nothing(self) -> None:
        """Whoever adds up all values in each call does not have a commit for each record."""
        state = State({f"key{number}": b"%d" % number for number in range(200)})
        lists = State({f"key{number}": b"[%d]" % number for number in range(200)})
        assert sum(state.values()) == sum(value for (value,) in lists.values())
        lists.settle()
        assert state.touched() == lists.touched() == 0

    def test_rollback_brings_everything_back(self) -> None:
        """After a rollback the state is what it was at the last cut."""
        state = stored(a=[1], b=2)
        state["a"].append(2)
        del state["b"]
        state["c"] = 3
        state.rollback()
        assert state == {"a": [1], "b": 2}
        assert changes_of(state) == {}


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
        assert {"a": 1} == stored(a=1)  # noqa: SIM300
        assert stored(a=1) == stored(a=1)
        assert not stored(a=1) == {"a": 2}  # noqa: SIM201
        assert stored(a=1).__eq__(1) is NotImplemented

    def test_unequal_is_the_opposite_of_equal(self) -> None:
        """`!=` looks at stored values as well, touched or not."""
        assert not stored(a=1) != {"a": 1}  # noqa: SIM202
        assert not {"a": 1} != stored(a=1)  # noqa: SIM202, SIM300
        assert stored(a=1) != {}

    def test_it_cannot_be_hashed(self) -> None:
        """As a dict."""
        with pytest.raises(TypeError):
            hash(stored())

    @pytest.mark.parametrize("dumps", [json.dumps, *encoders()])
    def test_what_writes_json_in_c_refuses_it_loudly(self, dumps: Callable[[Any], object]) -> None:
        """Not half of it, nor nothing; and all of it in `to_dict`."""
        state = State({f"key{number}": b"[%d]" % number for number in range(40)})
        state["key7"].append(8)
        with pytest.raises((TypeError, OverflowError)):
            dumps(state)
        written = dumps(state.to_dict())
        assert json.loads(cast("bytes | str", written))["key7"] == [7, 8]
        assert len(state.to_dict()) == 40

    def test_to_dict_shares_nothing(self) -> None:
        """Changes to the copy, and in it, are no changes of the state."""
        state = stored(a=[1])
        state["b"] = inner = [2]
        whole = state.to_dict()
        cast("list[int]", whole["a"]).append(3)
        cast("list[int]", whole["b"]).append(3)
        assert (state["a"], inner) == ([1], [2])

    def test_pickled_it_is_a_plain_dict(self) -> None:
        """With everything in it."""
        assert pickle.loads(pickle.dumps(stored(a=[1]))) == {"a": [1]}
