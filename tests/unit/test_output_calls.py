"""A client of Kafka that does not come back from a call: it is left behind, and another one goes on."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.outputs import calls
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.sender import Sender
from partition_workers.outputs.steps import Known, Step
from tests.eventually import eventually
from tests.fakes.output_broker import FakeBroker, FakeProducer


class Hanging(FakeProducer):
    """Its first call of the name `hangs` does not come back before the test lets it; then it goes on as ever."""

    def __init__(self, broker: FakeBroker, hangs: str) -> None:
        super().__init__(broker)
        self.has_come, self.goes_on = threading.Event(), threading.Event()
        self._hangs = hangs

    def _may_hang(self, name: str) -> None:
        if name == self._hangs:
            self._hangs = ""
            self.has_come.set()
            assert self.goes_on.wait(20.0)

    def initialise(self) -> None:
        self._may_hang("initialise")
        super().initialise()

    def look(self, timeout: float = 5.0) -> tuple[int, str] | None:
        self._may_hang("look")
        return super().look(timeout)

    def commit(self, *arguments: Any) -> None:
        self._may_hang("commit")
        super().commit(*arguments)

    def send(self, *arguments: Any) -> None:
        self._may_hang("send")
        super().send(*arguments)


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, hangs: str) -> None:
        monkeypatch.setattr(calls, "HUNG", 0.1)
        monkeypatch.setattr(calls, "SURE", 0.05)
        self.broker = FakeBroker()
        self.doors = [Hanging(self.broker, hangs)]
        self.made = 0

    def make(self) -> FakeProducer:
        self.made += 1
        if self.made > 1:
            self.doors.append(Hanging(self.broker, ""))
        return self.doors[-1]

    def until_left_behind(self, asked: calls.Calls[Any]) -> None:
        assert self.doors[0].has_come.wait(10.0)

        def is_left() -> bool:
            asked.look_after()
            return self.made == 2

        eventually("another client is made", is_left)


def answer(future: Future[Any]) -> Any:
    return future.result(10.0)


STEP = Step("7.1", "", 5, {})


@pytest.mark.parametrize("hangs", ["initialise", "look"])
def test_opening_goes_on_with_another_client(monkeypatch: pytest.MonkeyPatch, hangs: str) -> None:
    """And so does what was asked for behind it. The first client, when it comes back, has no say any more."""
    stage = Stage(monkeypatch, hangs)
    exchange = Exchange(stage.make)
    opening, committed = exchange.open(), exchange.commit(STEP)

    stage.until_left_behind(exchange)

    assert answer(opening) is None
    assert answer(committed).number == "7.1"
    stage.doors[0].goes_on.set()
    assert answer(exchange.open()) == Known.decode(stage.broker.known[1] if stage.broker.known else "")
    exchange.close()


def test_a_commit_that_does_not_come_back_was_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was done is asked, as ever. The client that is left behind is fenced by the next."""
    stage = Stage(monkeypatch, "commit")
    exchange = Exchange(stage.make)
    answer(exchange.open())
    committed = exchange.commit(STEP)

    stage.until_left_behind(exchange)

    with pytest.raises(SendingFailed, match="not come back") as failed:
        answer(committed)
    assert failed.value.given_up
    assert answer(exchange.open()) is None
    stage.doors[0].goes_on.set()
    assert answer(exchange.commit(STEP)).number == "7.1"
    assert stage.broker.transactions == 1
    exchange.close()


def test_outputs_at_least_once_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, "send")
    sender = Sender(stage.make)
    sent = sender.send([])

    stage.until_left_behind(sender)

    with pytest.raises(SendingFailed):
        answer(sent)
    answer(sender.send([]))
    stage.doors[0].goes_on.set()
    sender.close()


def test_a_client_that_is_slow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer is one that is asked again: each question begins anew, however many there are."""
    stage = Stage(monkeypatch, "")
    exchange, moment = Exchange(stage.make), [100.0]
    stage.broker.silent = 10

    def sleep(_seconds: float) -> None:
        moment[0] += 0.9 * calls.HUNG
        exchange.look_after()

    def begin_anew(_request: str) -> None:
        stage.doors[0].called_at = moment[0]

    monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: moment[0], sleep=sleep))
    stage.broker.before = begin_anew
    answer(exchange.open())
    assert stage.made == 1
    assert moment[0] > 100.0 + calls.HUNG
    assert exchange.trouble is None
    exchange.close()


class Stopped:
    """A clock that goes on while the process is stopped, and a client that is in the middle of a call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = Stage(monkeypatch, "commit")
        monkeypatch.setattr(calls, "SURE", 1.0)
        self.door = self.stage.doors[0]
        self.exchange = Exchange(self.stage.make)
        answer(self.exchange.open())
        self.now = 100.0
        monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=lambda _seconds: None))
        self.committed = self.exchange.commit(STEP)
        assert self.door.has_come.wait(10.0)

    def look(self, after: float) -> bool:
        """Whether the client is still the same."""
        self.now += after
        self.exchange.look_after()
        return self.stage.made == 1


def test_a_process_that_was_stopped_and_goes_on_keeps_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were: who looks first sees one that has not come back for long."""
    stopped = Stopped(monkeypatch)
    assert stopped.look(calls.HUNG + 1.0)
    assert stopped.look(0.1)

    stopped.door.called_at = stopped.now
    assert stopped.look(5.0)
    stopped.door.goes_on.set()

    assert answer(stopped.committed).number == "7.1"
    stopped.exchange.close()


def test_a_client_that_is_stopped_again_and_again_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Stopped(monkeypatch)
    for _ in range(3):
        assert stopped.look(calls.HUNG + 1.0)
        stopped.door.called_at = stopped.now
    assert stopped.look(calls.HUNG + 1.0)
    assert not stopped.look(calls.SURE)
    stopped.door.goes_on.set()
    stopped.exchange.close()
