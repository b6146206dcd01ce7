"""What others wrote, made fit for a terminal: an escape in a reason or a name does nothing there."""

from __future__ import annotations


def printable(text: str) -> str:
    """What cannot be printed is a question mark; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
