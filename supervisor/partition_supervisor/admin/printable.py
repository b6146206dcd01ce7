"""What others wrote, made fit to be shown: escapes in it do nothing to a terminal, and all of it can be written."""

from __future__ import annotations


def printable(text: str) -> str:
    """What cannot be printed is a question mark; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)


def writable(text: str) -> str:
    """What UTF-8 cannot write is a question mark: half of a pair of surrogates, as the text of an exception may hold
    it, or a byte of a key that is no text."""
    return text if text.isascii() else text.encode(errors="replace").decode()
