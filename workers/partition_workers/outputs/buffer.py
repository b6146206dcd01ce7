"""What a handler has produced since the last cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from partition_workers.errors import OutputInvalid

#: A cut is made when so many records, or bytes, have gathered.
FULL_AT = (50_000, 16 * 1024 * 1024)
#: One call of the handler may produce so many.
MOST = (100_000, 64 * 1024 * 1024)
#: Bytes that each record costs beside what is in it.
EACH = 100
#: What there is room for in C, where the client is at home.
LATEST, MOST_PARTITIONS = 2**63 - 1, 2**31 - 1

Headers = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]


class Output(NamedTuple):
    """One record to be sent. `partition` -1: by its key; `timestamp` 0: when it is sent."""

    topic: str
    value: bytes | None
    key: bytes | None
    partition: int = -1
    timestamp: int = 0
    headers: list[tuple[str, bytes | None]] | None = None

    @classmethod
    def of(cls, waiting: Waiting) -> Output:
        if len(waiting) == 3:
            return cls(*waiting)
        topic, value, key, partition, _, _, timestamp, headers = waiting
        return cls(topic, value, key, partition, timestamp, headers)

    @property
    def waiting(self) -> Waiting:
        return self.topic, self.value, self.key, self.partition, None, None, self.timestamp, self.headers

    @property
    def size(self) -> int:
        """Bytes of its key and value, as Kafka's limits count them, about."""
        return len(self.value or b"") + len(self.key or b"")


#: An Output as it waits: the arguments of `produce` in librdkafka's client. Most have no others than the first three.
#: Of plain tuples with nothing but bytes and numbers in them Python's garbage collector takes no notice; to go
#: through tens of thousands of others took a third of the handler's time.
Waiting = (
    tuple[str, bytes | None, bytes | None]
    | tuple[str, bytes | None, bytes | None, int, None, None, int, list[tuple[str, bytes | None]] | None]
)


def size_of(waiting: Waiting) -> int:
    """Bytes that it takes, about."""
    return Output.of(waiting).size + EACH


class Outputs:
    """`partitions_of(topic)`: how many it has, 0: not known."""

    def __init__(self, topics: Collection[str], partitions_of: Callable[[str], int] = lambda _topic: 0) -> None:
        self.topics, self._partitions_of = topics, partitions_of
        self._open_to: frozenset[str] = frozenset()
        self._is_open = False
        self._refused: Mapping[str, str] = {}
        self._records: list[Waiting] = []
        self._bytes, self._full_at = 0, FULL_AT
        self._limits: dict[str, int] = {}
        self.is_full = False
        """Whether a cut should be made before the next record."""

    @property
    def is_open(self) -> bool:
        """Whether a handler is at work on records."""
        return self._is_open

    @is_open.setter
    def is_open(self, value: bool) -> None:
        self._is_open = value
        self._choose()

    def refuse(self, topics: Mapping[str, str]) -> None:
        """Take nothing for these, for what Kafka has said of the record at hand; until others are named, or none."""
        self._refused = topics
        self._choose()

    def _choose(self) -> None:
        self._open_to = frozenset(each for each in self.topics if self._is_open and each not in self._refused)

    def __len__(self) -> int:
        return len(self._records)

    def produce(
        self,
        topic: str,
        value: str | bytes | None,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Send a record with the commit of the records that are being handled.

        `timestamp` in milliseconds. Raises OutputInvalid, which goes the way of a handler's error, when it cannot
        be sent.
        """
        if topic not in self._open_to:
            raise self._refusal(topic)
        if (
            type(value) is type(key) is bytes
            and headers is None and partition is None and timestamp is None and not self._limits
        ):  # fmt: skip
            self._records.append((topic, value, key))
            self._bytes += len(value) + len(key) + EACH
        else:
            self._put(topic, _bytes("value", value), _bytes("key", key), headers, partition, timestamp)
        if self._bytes >= self._full_at[1] or len(self._records) >= self._full_at[0]:
            self.is_full = True
            if len(self._records) > MOST[0] or self._bytes > MOST[1]:
                self._bytes -= size_of(self._records.pop())
                raise OutputInvalid(
                    f"one call of the handler produced more than {MOST[0]:,} records or {MOST[1]:,} bytes"
                )

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return self._bytes

    def take(self) -> list[Waiting]:
        """Of a cut: they are somebody else's from now on."""
        taken = self._records
        self._forget()
        return taken

    def forget(self) -> None:
        """The state goes back, and so do they."""
        if self._records:
            self._forget()

    def learn(self, refused: Output) -> None:
        """The broker did not take it for its size: nor will it take such a one again."""
        self._limits[refused.topic] = min(self._limits.get(refused.topic, refused.size), refused.size)

    def _forget(self) -> None:
        self._records, self._bytes, self.is_full = [], 0, False

    def _refusal(self, topic: str) -> OutputInvalid:
        if self._is_open and topic in self._refused:
            return OutputInvalid(f"{topic} did not take what this record produces: {self._refused[topic]}")
        if topic in self.topics:
            return OutputInvalid("produce() is for handle: what open() or close() sends belongs to no record")
        allowed = f"it has {', '.join(self.topics)}" if self.topics else "it has none"
        return OutputInvalid(f"{topic!r} is no --output of this program: {allowed}")

    def _put(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers | None,
        partition: int | None,
        timestamp: int | None,
    ) -> None:
        if partition is not None and not self._is_partition(topic, partition):
            raise OutputInvalid(f"{topic} has no partition {partition!r}: it has {self._partitions_of(topic)}")
        if timestamp is not None and (type(timestamp) is not int or not 0 <= timestamp <= LATEST):
            raise OutputInvalid(f"timestamp {timestamp!r}: milliseconds since 1970, a whole number")
        number = -1 if partition is None else partition
        made = Output(topic, value, key, number, timestamp or 0, _headers(headers) if headers else None)
        if topic in self._limits and made.size >= self._limits[topic]:
            raise OutputInvalid(f"a record of {made.size:,} bytes is larger than {topic} takes")
        self._records.append(made.waiting)
        self._bytes += made.size + EACH

    def _is_partition(self, topic: str, partition: object) -> bool:
        count = self._partitions_of(topic)
        return type(partition) is int and 0 <= partition < (count or MOST_PARTITIONS)


def _bytes(what: str, value: object) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise OutputInvalid(f"{what}: text that cannot be written as UTF-8: {error}") from error
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise OutputInvalid(
        f"{what}: bytes, text or None, and this is {type(value).__name__}: json.dumps makes text of it"
    )


def _headers(headers: object) -> list[tuple[str, bytes | None]] | None:
    if not headers:
        return None
    try:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)  # type: ignore[call-overload]
        return [(_header_name(name), _bytes(f"header {name!r}", value)) for name, value in pairs]
    except (TypeError, ValueError) as error:
        raise OutputInvalid(f"headers: a dict, or pairs of text and bytes: {error}") from error


def _header_name(name: object) -> str:
    """The client takes it for text of C's: it would be cut at a NUL, and the process dies of what is no UTF-8."""
    if not isinstance(name, str):
        raise OutputInvalid("headers: their names are text")
    if b"\0" in (_bytes("the name of a header", name) or b""):
        raise OutputInvalid(f"headers: {name!r} has a NUL in it")
    return name
