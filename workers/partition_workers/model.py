"""The nouns, and what each of them means everywhere: in code, flags, documents and keys.

- **partition**: a Kafka topic and a number.
- **offset**: always the *next* record to process, never the last one processed.
- **record**: a `confluent_kafka.Message`, passed on as it is.
- **token**: the etcd revision at which the lock key was last written. It grows with every change of owner of
  that partition, for ever. Whoever shows a smaller token than the newest is not the owner any more.
- **sequence**: how many commits were made under the present token.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

#: What can be promised of outputs.
EXACTLY_ONCE, AT_LEAST_ONCE = "exactly-once", "at-least-once"

Offset: TypeAlias = int
Token: TypeAlias = int


class Reset(NamedTuple):
    """An `offsets reset` that no owner has followed yet. Tokens up to `revision` (of etcd) are older than it."""

    offset: Offset
    revision: int


class Partition(NamedTuple):
    """A Kafka topic and partition number. Shown as `events[3]`, parsed from the same."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"

    @classmethod
    def parse(cls, text: str) -> Partition:
        """Read `events[3]` or `events/3`. Raises ValueError with the two forms when it is neither."""
        topic, _, rest = text.replace("/", "[").rpartition("[")
        number = rest.removesuffix("]")
        if not topic or not number.isdigit():
            raise ValueError(f"{text!r} is no partition: write it as events[3] or events/3")
        return cls(topic, int(number))
