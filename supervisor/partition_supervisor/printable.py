"""What others wrote, made fit for a terminal: an escape in a reason or a name does nothing there."""

from __future__ import annotations

import json

_CONTROLS = {number: "?" for number in (*range(32), *range(127, 160)) if chr(number) not in "\n\t"}


def printable(text: str) -> str:
    """What cannot be printed is a question mark; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)


def without_controls(text: str) -> str:
    """For a log, in whatever writing its lines are: only what could steer a terminal is a question mark."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def printable_json(text: str) -> str:
    """JSON that says the same: what cannot be printed, or is no text for any encoding, is escaped."""
    return "\n".join(
        line
        if line.isprintable()
        else "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)
        for line in text.split("\n")
    )
