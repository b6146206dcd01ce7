"""What a value of the state may be, and what becomes of it when the call that left it there ends."""

from __future__ import annotations

import enum
import json
from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.errors import StateInvalid
from partition_workers.state.mapping import State
from partition_workers.state.values import MAX_DEPTH


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


Pair = namedtuple("Pair", "x y")


def left(value: Any) -> Any:
    """What the next call reads, after one that left this value."""
    state = State()
    state["a"] = value
    state.settle()
    return state["a"]


def after_a_takeover(value: Any) -> Any:
    """What the next owner reads."""
    state = State()
    state["a"] = value
    state.settle()
    changes = state.changes()
    return State({key: change for key, change in changes.items() if change is not None})["a"]


class TestPlain:
    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            ((1, 2), [1, 2]),
            (Pair(1, [2]), [1, [2]]),
            (Counter("aab"), {"a": 2, "b": 1}),
            (defaultdict(list, a=[1]), {"a": [1]}),
            (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
            (Colour.RED, "red"),
            (Level.LOW, 1),
            ({Colour.RED: 1}, {"red": 1}),
            (type("Text", (str,), {})("text"), "text"),
            (type("Number", (int,), {})(7), 7),
            (type("Float", (float,), {})(0.5), 0.5),
            ({"a": ((1,), {"b": (2,)})}, {"a": [[1], {"b": [2]}]}),
            (10**100, 10**100),
        ],
        ids=repr,
    )
    def test_a_value_is_plain_in_the_very_next_call(self, value: Any, plain: Any) -> None:
        """As it is after a takeover, and of no class of the handler's."""
        for found in (left(value), after_a_takeover(value)):
            assert found == plain
            assert repr(found) == repr(plain)
            assert type(found) is type(plain)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"])),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
            | st.tuples(inner, inner),
            max_leaves=8,
        )
    )  # fmt: skip
    def test_the_next_call_reads_what_the_next_owner_reads(self, value: Any) -> None:
        assert repr(left(value)) == repr(after_a_takeover(value)) == repr(json.loads(json.dumps(value)))

    def test_a_key_of_a_class_of_its_own_is_text(self) -> None:
        state = State()
        state[Colour.RED] = 1
        assert [type(key) for key in state] == [str]
        assert state["red"] == state[Colour.RED] == 1

    def test_two_names_for_one_list_are_two_lists_by_the_next_call(self) -> None:
        state = State()
        state["a"] = state["b"] = shared = [1]
        shared.append(2)
        state.settle()
        state["a"].append(3)
        assert (state["a"], state["b"]) == ([1, 2, 3], [1, 2])

    def test_a_reference_that_was_kept_is_not_the_states_any_more(self) -> None:
        state = State()
        state["a"] = kept = [1]
        state.settle()
        kept.append(2)
        state.settle()
        assert state["a"] == [1]
        read = state["a"]
        state.settle()
        read.append(3)
        assert state["a"] == [1]

    def test_within_a_call_it_is_the_same_list(self) -> None:
        state = State({"a": b"[1]"})
        state["a"].append(2)
        assert state["a"] is state["a"]
        assert state.get("a") == [1, 2]

    def test_what_somebody_wrote_by_hand_is_read(self) -> None:
        """Spaces, and numbers in other spellings; and what is no JSON is refused with its key."""
        state = State({"a": b" [1, 2]\n", "b": b"1e2", "c": b"\xff", "d": b"1 2"})
        assert (state["a"], state["b"]) == ([1, 2], 100.0)
        for key in ("c", "d"):
            with pytest.raises(StateInvalid, match=rf"state\['{key}'\] in etcd is not JSON"):
                state.get(key)


def leave(state: State, key: Any, value: Any) -> None:
    state[key] = value
    state.settle()


def refusal_of(key: Any, value: Any) -> str:
    """Where it is written, or when the call ends."""
    state = State({"a": b"1"})
    with pytest.raises(StateInvalid) as caught:
        leave(state, key, value)
    state.rollback()
    assert state == {"a": 1}
    return str(caught.value)


class TestRefused:
    @pytest.mark.parametrize(
        "value",
        [
            object(), {1}, b"x", bytearray(b"x"), float("nan"), float("inf"), "\ud800", [[{"a": 1j}]], ["\ud800"],
            {"\ud800": 1}, [float("nan")], 10**5000,
        ],
        ids=lambda value: ascii(value) if not isinstance(value, int) else "a number of 5001 digits",
    )  # fmt: skip
    def test_a_value_that_is_not_json_is_refused_by_its_key(self, value: Any) -> None:
        """The error names the key, and nothing has changed."""
        assert "state['bad']" in refusal_of("bad", value)

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        """A circle is not JSON."""
        circle: list[Any] = []
        circle.append(circle)
        assert "state['bad']" in refusal_of("bad", circle)

    @pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
    def test_a_key_that_is_not_text_is_refused(self, key: Any) -> None:
        """The error shows the key and its type."""
        assert type(key).__name__ in refusal_of(key, 1)

    @pytest.mark.parametrize(
        "value", [{7: 1}, {True: 1}, {None: 1}, {1.5: 1}, [{"a": {7: 1}}], ({7: 1},), {Level.LOW: 1}]
    )
    def test_a_key_inside_a_value_that_is_not_text_is_refused(self, value: Any) -> None:
        """JSON would turn it into text silently, and in the next call the handler would not find it any more."""
        message = refusal_of("counts", value)
        assert "state['counts']" in message
        assert "not text: use str(" in message

    def test_a_key_that_cannot_be_written_as_utf8_is_refused(self) -> None:
        """A lone surrogate in a key is found at once, not by the client of etcd."""
        assert "UTF-8" in refusal_of("\ud800", 1)

    @pytest.mark.parametrize("opening", ["[", '{"a":'])
    def test_what_nests_too_deep_is_refused(self, opening: str) -> None:
        """However deep the caller is already; brackets in text do not count."""

        def nested(depth: int) -> Any:
            closing = "]" if opening == "[" else "}"
            return json.loads(opening * depth + '"[{\\"["' + closing * depth)

        assert left(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
        assert left(["[{"] * 1000) == ["[{"] * 1000
        assert "deep" in refusal_of("bad", nested(MAX_DEPTH + 1))

    def test_bytes_are_refused_where_they_are_written(self) -> None:
        """A handler that catches the error finds what was there."""
        state = State({"a": b"[1]"})
        with pytest.raises(StateInvalid):
            state["a"] = b"[2]"
        assert state["a"] == [1]

    def test_what_is_overwritten_in_the_same_call_does_no_harm(self) -> None:
        """What counts is what the call leaves."""
        state = State()
        state["a"] = float("nan")
        state["a"] = 1
        state["b"] = {1}
        del state["b"]
        state.settle()
        assert state == {"a": 1}
