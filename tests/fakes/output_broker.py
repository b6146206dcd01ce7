"""A broker with transactions in memory.

It knows one partition's producer. It does what Kafka does: the producer that was initialised last may commit, and
initialising aborts what another has begun. Each request can be told to fail, and `before` is called with its name
before each is done, so that somebody else can act there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from partition_workers.errors import Unavailable
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.outputs.buffer import Output, Waiting

#: What may become of a transaction whose producer is still the newest.
FATES = ["committed", "answer lost", "aborted"]


class FakeBroker:
    def __init__(self) -> None:
        #: What a read_committed reader sees, in order.
        self.visible: list[Output] = []
        self.known: tuple[int, str] | None = None
        self.newest = 0
        self.begun: int | None = None
        #: Of the transactions to come; then "committed".
        self.fates: deque[str] = deque()
        #: Answers to "initialise" and "look" that do not come.
        self.silent = 0
        self.largest = 1_000_000
        self.refusal: str | None = None
        #: What it says of all records, and will say again.
        self.lasting: str | None = None
        #: What it says of a record that it takes neither now nor later; None: it takes it.
        self.wrong: Callable[[Output], str | None] = lambda _output: None
        #: Whether it says which of those that were sent together it was.
        self.says_which = True
        #: Whether records are taken before their commit.
        self.takes_ahead = True
        self.sent_ahead = 0
        self.before: Callable[[str], None] = lambda _request: None
        self.transactions = self.largest_transaction = 0

    def producer(self) -> FakeProducer:
        return FakeProducer(self)

    def refuse_what_is_wrong(self, sent: Sequence[Output], is_watched: bool) -> None:
        if self.lasting:
            raise SendingFailed(self.lasting, lasting=self.lasting)
        wrong = [number for number, each in enumerate(sent) if self.wrong(each)]
        if wrong:
            why = self.wrong(sent[wrong[0]])
            blamed = wrong[:1] if self.says_which else range(len(sent))
            raise SendingFailed(
                f"failed: {why}", blamed=blamed if is_watched else (), lasting=why if is_watched else None
            )

    def answer(self, request: str) -> None:
        self.before(request)
        if self.silent:
            self.silent -= 1
            raise Unavailable("the fake broker does not answer")


class FakeProducer:
    called_at = 0.0

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._epoch: int | None = None
        self._ahead: list[Waiting] = []
        #: After a failure it keeps all until the commit, and says which is to blame.
        self._is_watched = False

    def partitions_of(self, topic: str) -> int:
        return 4

    def warm_up(self, timeout: float) -> None:
        self._broker.answer("warm up")

    def initialise(self) -> None:
        self._broker.answer("initialise")
        self._broker.newest += 1
        self._epoch, self._broker.begun, self._ahead = self._broker.newest, None, []

    def look(self, timeout: float = 5.0) -> tuple[int, str] | None:
        self._broker.answer("look")
        return self._broker.known

    def send_ahead(self, records: Sequence[Waiting]) -> bool:
        """Of one that is fenced it is known at its commit."""
        broker = self._broker
        if self._epoch is None or self._is_watched or not broker.takes_ahead:
            return False
        broker.before("send ahead")
        if self._epoch == broker.newest:
            broker.begun = self._epoch
        self._ahead += records
        broker.sent_ahead += len(records)
        return True

    def hear(self) -> None:
        pass

    def commit(
        self, ahead: int, records: Sequence[Waiting], offset: int, metadata: str, given_up: Callable[[], bool]
    ) -> None:
        is_watched, self._is_watched = self._is_watched, True
        sent, self._ahead = self._ahead, []
        broker, epoch, self._epoch = self._broker, self._epoch, None
        broker.before("begin")
        self._must_be_newest(epoch)
        broker.begun = epoch
        if ahead != len(sent):
            raise SendingFailed("what was sent ahead was taken back")
        outputs = list(map(Output.of, [*sent, *records]))
        for number, record in enumerate(outputs):
            if record.size > broker.largest:
                raise SendingFailed("too large", too_large=number if is_watched else None)
        if broker.refusal:
            raise SendingFailed(broker.refusal, refusal=broker.refusal)
        broker.refuse_what_is_wrong(outputs, is_watched)
        broker.before("end")
        self._must_be_newest(epoch)
        fate = broker.fates.popleft() if broker.fates else "committed"
        if fate != "aborted":
            broker.visible += outputs
            broker.known, broker.begun = (offset, metadata), None
            broker.transactions += 1
            broker.largest_transaction = max(broker.largest_transaction, len(outputs))
        broker.before("ended")
        if fate != "committed":
            raise SendingFailed(fate)
        self._epoch, self._is_watched = epoch, False

    def send(self, records: Sequence[Waiting], given_up: Callable[[], bool]) -> None:
        """At least once: some may be there although it failed."""
        broker = self._broker
        sent = list(map(Output.of, records))
        broker.before("send")
        for number, record in enumerate(sent):
            if record.size > broker.largest:
                broker.visible += sent[:number]
                raise SendingFailed("too large", too_large=number)
        if broker.refusal:
            raise SendingFailed(broker.refusal, refusal=broker.refusal)
        if broker.lasting or any(map(broker.wrong, sent)):
            broker.visible += [each for each in sent if not broker.wrong(each)] if broker.says_which else []
            broker.refuse_what_is_wrong(sent, is_watched=True)
        fate = broker.fates.popleft() if broker.fates else "committed"
        if fate != "aborted":
            broker.visible += sent if fate == "committed" else sent[: len(sent) // 2 + 1]
        broker.before("sent")
        if fate != "committed":
            raise SendingFailed(fate)

    def close(self) -> None:
        self._epoch = None

    def _must_be_newest(self, epoch: int | None) -> None:
        if epoch is None or epoch != self._broker.newest:
            raise SendingFailed("fenced")
