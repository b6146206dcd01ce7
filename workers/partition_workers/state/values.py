"""A value of the state as JSON, and what is no value of a state.

A value is taken as JSON reads back: a tuple becomes a list, a `Counter` a dict, a member of an enumeration its text
or number. What would read back as something else than anybody could mean is refused, in words: a number that is a key
of a dict (JSON makes text of it, and the handler would look for the number in vain), a number that is none, text
that cannot be written as UTF-8, and what nests deeper than can be read safely.
"""

from __future__ import annotations

import json
from typing import Any

from partition_workers.errors import StateInvalid

_decode = json.JSONDecoder().decode
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

#: A whole number of less digits is read without the decoder, at a fifth of the cost. None begins with a zero.
_DIGITS, _ZERO = 19, ord("0")

#: Lists and dicts inside each other, at the most. Python's own limit depends on how deep the caller is already.
MAX_DEPTH = 200

#: What cannot change inside.
SCALARS = frozenset((str, int, float, bool, type(None)))


def to_json(key: str, value: object) -> bytes:
    """The JSON of `state[key]`. Raises StateInvalid, which names the key."""
    try:
        text = _encode(value)
        if "{" in text or "[" in text:
            _check_inside(value, text)
        return text.encode()
    except Exception as error:  # of a value's own code too
        raise StateInvalid(
            f"state[{key!r}] is not JSON ({error}): store text, numbers, booleans, None, lists and dicts"
        ) from error


def _encode(value: object) -> str:
    """As `json.dumps` does, which makes an encoder for each call; that takes longer than a short list."""
    try:
        return "".join(_pieces(value, 0))
    except BaseException:
        _markers.clear()  # it remembers what it was inside of, to find circles
        raise


def _refuse(value: object) -> None:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_markers: dict[int, object] = {}
_pieces = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    _markers, _refuse, json.encoder.encode_basestring, None, ":", ",", False, False, False
)


def from_json(key: str, encoded: bytes) -> Any:
    """A fresh value that nobody else holds. Raises StateInvalid when somebody wrote into etcd what is no JSON."""
    if len(encoded) < _DIGITS and encoded.isdigit() and encoded[0] != _ZERO:
        return int(encoded)
    try:
        text = encoded.decode()
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            end = -1
        return value if end == len(text) else _decode(text)  # which knows white space, and what to say of the rest
    except ValueError as error:
        raise StateInvalid(f"state[{key!r}] in etcd is not JSON ({error}): {encoded[:100]!r}") from error


def checked_key(key: object) -> str:
    """The key as plain text. Raises StateInvalid when it is none."""
    if not isinstance(key, str):
        raise StateInvalid(f"state keys are text, and {key!r} is {type(key).__name__}: use str({key!r})")
    plain = key if type(key) is str else str.__str__(key)
    if not plain.isascii():
        try:
            plain.encode()
        except UnicodeEncodeError as error:
            raise StateInvalid(f"state keys are text, and {key!r} cannot be written as UTF-8 ({error})") from error
    return plain


def _check_inside(value: object, text: str) -> None:
    """What the encoder lets through. Reading it back and comparing is three times as fast as a walk, which is then
    left to what came back different: a tuple, most often."""
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    if "{" in text and _decode(text) != value:
        _refuse_other_keys(value)


def _check_depth(text: str) -> None:
    depth, in_text, escaped = 0, False, False
    for each in text:
        if in_text:
            in_text = escaped or each != '"'
            escaped = each == "\\" and not escaped
        elif each == '"':
            in_text = True
        elif each in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"lists and dicts inside each other more than {MAX_DEPTH} deep")
        elif each in "]}":
            depth -= 1


def _refuse_other_keys(value: object) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"its key {key!r} is {type(key).__name__}, not text: use str({key!r})")
            _refuse_other_keys(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _refuse_other_keys(each)
