"""Keeping leases alive, and knowing until when."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest

from partition_workers.errors import Unavailable
from partition_workers.etcd.store import KeepaliveStream, Lists, Renewal, Store
from partition_workers.ownership.lease_keeper import AT_ONCE, PATIENCE, LeaseKeeper
from partition_workers.retry import delays
from tests.eventually import eventually
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

TTL = 10
EVERY = 2.0


class Stream:
    """A keepalive stream whose answers a test gives; it takes its requests in a thread, as gRPC does."""

    def __init__(self, lists: Lists) -> None:
        self.asked: list[int] = []
        self.lists: list[Sequence[int]] = []
        self.ended = False
        self._changed = threading.Condition()
        self._answers: deque[Renewal] = deque()
        threading.Thread(target=self._take, args=(lists,), daemon=True).start()

    def answer(self, lease: int, ttl: int = TTL) -> None:
        with self._changed:
            self._answers.append(Renewal(lease, ttl))
            self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Renewal]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answers or self.ended)
                if self.ended:
                    return
                renewal = self._answers.popleft()
            yield renewal

    def _take(self, lists: Lists) -> None:
        for leases in lists:
            self.lists.append(leases)
            self.asked += leases
        self.cancel()


class ByHand:
    """A store whose keepalives are answered by hand. `refuse`: so many streams cannot be opened."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.refuse = 0

    def keepalive(self, lists: Lists) -> KeepaliveStream:
        if self.refuse:
            self.refuse -= 1
            raise Unavailable("told to refuse")
        self.streams.append(Stream(lists))
        return self.streams[-1]

    def stream(self, number: int = 0) -> Stream:
        return eventually(f"stream {number} is opened", lambda: self.streams[number : number + 1])[0]

    def requests(self, count: int, number: int = 0) -> Stream:
        """The stream, once it has been asked so often."""
        stream = self.stream(number)
        eventually(f"{count} requests", lambda: len(stream.asked) >= count)
        return stream


class Keeper:
    """A keeper, what it has said, and a clock that wakes it."""

    def __init__(self, store: object) -> None:
        self.clock = FakeClock()
        self.renewed: list[tuple[int, float]] = []
        self.gone: list[int] = []
        self.late: list[int] = []
        self.it = LeaseKeeper(
            cast(Store, store), EVERY, lambda lease, deadline: self.renewed.append((lease, deadline)),
            self.gone.append, self.late.append, self.clock,
        )  # fmt: skip

    def pass_time(self, seconds: float) -> None:
        """Its waits are by the real clock, so it is woken to look at ours; but not before all that is due is done."""
        eventually("two of its threads wait for time to pass", lambda: len(self._waiters()) == 2)
        self.clock.advance(seconds)
        with self.it._changed:
            self.it._changed.notify_all()

    def _waiters(self) -> Sequence[object]:
        """Who looks for late leases, and who paces the rounds, or waits for something to renew."""
        return self.it._changed._waiters  # type: ignore[attr-defined,no-any-return]

    def until(self, what: str, check: Callable[[], object]) -> None:
        """Let time pass in small steps until it is so."""

        def step() -> object:
            self.pass_time(0.2)
            return check()

        eventually(what, step)

    def ended(self) -> bool:
        return not any(each.name in ("lease-keeper", "lease-late") for each in threading.enumerate())


@pytest.fixture(autouse=True)
def keepers() -> Iterator[list[Keeper]]:
    """All keepers of a test; none of their threads is left at its end."""
    made: list[Keeper] = []
    yield made
    for each in made:
        each.it.close()
        if isinstance(each.it._stream, Stream):
            each.it._stream.cancel()
    eventually("the keepers' threads have ended", lambda: all(each.ended() for each in made))


@pytest.fixture
def hand() -> ByHand:
    return ByHand()


@pytest.fixture
def keeper(hand: ByHand, keepers: list[Keeper]) -> Keeper:
    """A keeper on a store that is answered by hand."""
    keepers.append(Keeper(hand))
    return keepers[-1]


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd()


class TestDeadline:
    def test_it_counts_from_before_the_request(self, hand: ByHand, keeper: Keeper) -> None:
        """However long the answer took, etcd restarted the lease no earlier than we asked."""
        keeper.pass_time(100)
        keeper.it.keep(1, TTL)
        stream = hand.requests(1)
        keeper.clock.advance(0.75)
        stream.answer(1)
        eventually("it is renewed", lambda: keeper.renewed)
        assert keeper.renewed == [(1, 100 + TTL)]
        assert keeper.it.deadline(1) == 100 + TTL

    def test_the_ttl_is_that_of_the_answer(self, hand: ByHand, keeper: Keeper) -> None:
        """etcd may have granted more than was asked for."""
        keeper.it.keep(1, TTL)
        hand.requests(1).answer(1, 60)
        eventually("it is renewed", lambda: keeper.renewed == [(1, 60)])

    def test_before_the_first_answer_it_is_what_was_told(self, keeper: Keeper) -> None:
        """Just granted, or good until a deadline that somebody else had kept."""
        keeper.it.keep(1, TTL)
        keeper.it.keep(2, TTL, deadline=3.0)
        assert (keeper.it.deadline(1), keeper.it.deadline(2)) == (TTL, 3.0)

    def test_an_unknown_lease_is_good_until_never(self, keeper: Keeper) -> None:
        """Zero is before any time."""
        assert keeper.it.deadline(99) == 0.0


class TestRounds:
    def test_the_first_request_goes_at_once_and_the_next_after_its_time(self, hand: ByHand, keeper: Keeper) -> None:
        """One for each lease and round, on one stream."""
        keeper.it.keep(1, TTL)
        stream = hand.requests(1)
        for count in (2, 3):
            stream.answer(1)
            eventually("it is renewed", lambda count=count: len(keeper.renewed) == count - 1)  # type: ignore[misc]
            keeper.pass_time(EVERY)
            hand.requests(count)
        assert len(hand.streams) == 1

    def test_a_new_lease_does_not_wait_for_the_next_round(self, hand: ByHand, keeper: Keeper) -> None:
        """All are asked for then, and the stream stays the same."""
        keeper.it.keep(1, TTL)
        stream = hand.requests(1)
        stream.answer(1)
        eventually("it is renewed", lambda: keeper.renewed)
        keeper.it.keep(2, TTL)
        hand.requests(2)
        stream.answer(1)
        hand.requests(3)
        assert sorted(stream.asked) == [1, 1, 2]

    def test_many_are_asked_for_together(self, hand: ByHand, keeper: Keeper) -> None:
        """A host of hundreds of workers does not wait for one answer after the other; nor has it all under way."""
        leases = range(1, 2 * AT_ONCE + 6)
        for lease in leases:
            keeper.it.keep(lease, TTL)
        stream = hand.stream()
        answered: list[int] = []

        def all_are_renewed() -> bool:
            for lease in stream.asked[len(answered) :]:
                answered.append(lease)
                stream.answer(lease)
            return {lease for lease, _ in keeper.renewed} == set(leases)

        keeper.until("all are renewed", all_are_renewed)
        assert max(map(len, stream.lists)) == AT_ONCE

    def test_leases_are_renewed_for_as_long_as_they_are_kept(self, etcd: FakeEtcd, keepers: list[Keeper]) -> None:
        """With a whole store: they outlive their time many times over."""
        keepers.append(keeper := Keeper(etcd))
        leases = [etcd.grant(TTL).lease for _ in range(5)]
        for lease in leases:
            keeper.it.keep(lease, TTL)
        for _ in range(4):
            before = len(keeper.renewed)
            keeper.until("all are renewed", lambda before=before: len(keeper.renewed) >= before + 5)  # type: ignore[misc]
            assert isinstance(etcd.clock, FakeClock)
            etcd.clock.advance(TTL * 0.9)
        assert keeper.gone == []

    def test_a_dropped_lease_is_not_renewed(self, hand: ByHand, keeper: Keeper) -> None:
        """The others are, and nothing more is said of it, not even if an answer was under way."""
        keeper.it.keep(1, TTL)
        keeper.it.keep(2, TTL)
        stream = hand.stream()
        eventually("one is asked for", lambda: 1 in stream.asked)
        keeper.it.drop(1)
        stream.answer(1)
        eventually("the other is asked for", lambda: 2 in stream.asked)
        stream.answer(2)
        eventually("the other is renewed", lambda: [lease for lease, _ in keeper.renewed] == [2])
        keeper.pass_time(EVERY)
        eventually("the other is asked for again", lambda: stream.asked.count(2) == 2)
        assert stream.asked.count(1) == 1
        assert keeper.it.deadline(1) == 0.0


class TestAlive:
    def test_a_holder_that_is_not_alive_is_not_renewed(self, etcd: FakeEtcd, keepers: list[Keeper]) -> None:
        """Its lease runs out at etcd, and the holder is told that it is late."""
        keepers.append(keeper := Keeper(etcd))
        looks: list[bool] = []
        alive = True

        def is_alive() -> bool:
            looks.append(alive)
            return alive

        lease = etcd.grant(TTL).lease
        keeper.it.keep(lease, TTL, is_alive)
        eventually("it is renewed", lambda: keeper.renewed)
        alive = False
        keeper.until("it is late", lambda: keeper.late)
        renewals = len(keeper.renewed)
        assert looks.count(False) > 1
        keeper.until("more looks", lambda: looks.count(False) > 9)
        assert len(keeper.renewed) == renewals
        assert isinstance(etcd.clock, FakeClock)
        etcd.clock.advance(TTL)
        alive = True
        keeper.until("it is gone", lambda: keeper.gone == [lease])

    def test_it_is_asked_for_every_lease_by_itself(self, hand: ByHand, keeper: Keeper) -> None:
        """One that is stuck takes no other along."""
        keeper.it.keep(1, TTL, lambda: False)
        keeper.it.keep(2, TTL, lambda: True)
        stream = hand.requests(1)
        stream.answer(2)
        eventually("the other is renewed", lambda: keeper.renewed)
        keeper.pass_time(EVERY)
        hand.requests(2)
        assert set(stream.asked) == {2}


class TestLate:
    def test_it_is_said_once_when_a_quarter_is_left(self, hand: ByHand, keeper: Keeper) -> None:
        """And again only after another acknowledgement."""
        hand.refuse = 10**9
        keeper.it.keep(1, TTL)
        keeper.pass_time(TTL * 0.74)
        assert keeper.late == []
        keeper.pass_time(TTL * 0.02)
        eventually("it is said", lambda: keeper.late == [1])
        keeper.pass_time(TTL)
        hand.refuse = 0
        stream = hand.requests(1)
        assert keeper.late == [1]
        stream.answer(1)
        eventually("it is renewed", lambda: keeper.renewed)
        hand.refuse = 10**9
        stream.cancel()
        keeper.until("it is said again", lambda: len(keeper.late) == 2)
        assert keeper.clock() - keeper.renewed[0][1] >= -TTL / 4

    def test_it_is_said_while_a_stream_is_silent(
        self, hand: ByHand, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody has to answer for that."""
        monkeypatch.setattr("partition_workers.ownership.lease_keeper.PATIENCE", 1000.0)
        keeper.it.keep(1, TTL)
        hand.requests(1)
        keeper.pass_time(TTL * 0.8)
        eventually("it is said", lambda: keeper.late == [1])


class TestGone:
    @pytest.mark.parametrize("ttl", [0, -1])
    def test_a_lease_that_etcd_does_not_know_is_gone(self, hand: ByHand, keeper: Keeper, ttl: int) -> None:
        """It is said once, and the lease is dropped."""
        keeper.it.keep(1, TTL)
        keeper.it.keep(2, TTL)
        stream = hand.stream()
        eventually("it is asked for", lambda: 1 in stream.asked)
        stream.answer(1, ttl)
        eventually("it is gone", lambda: keeper.gone == [1])
        assert keeper.it.deadline(1) == 0.0
        assert keeper.renewed == []

    def test_a_lease_that_ran_out_is_found_gone(self, etcd: FakeEtcd, keepers: list[Keeper]) -> None:
        """At the next renewal."""
        keepers.append(keeper := Keeper(etcd))
        lease = etcd.grant(TTL).lease
        keeper.it.keep(lease, TTL)
        eventually("it is renewed", lambda: keeper.renewed)
        etcd.expire(lease)
        keeper.until("it is gone", lambda: keeper.gone == [lease])


class TestBrokenStreams:
    def test_a_silent_stream_is_given_up_and_another_opened(self, hand: ByHand, keeper: Keeper) -> None:
        """After a second without an answer, and not before; a late answer on the old one counts for nothing."""
        keeper.it.keep(1, TTL)
        silent = hand.requests(1)
        keeper.pass_time(PATIENCE * 0.9)
        assert not silent.ended
        keeper.pass_time(PATIENCE * 0.2)
        second = hand.requests(1, number=1)
        assert silent.ended
        silent.answer(1)
        second.answer(1)
        eventually("it is renewed", lambda: keeper.renewed)
        assert keeper.renewed == [(1, keeper.clock() + TTL)]

    def test_a_stream_that_breaks_is_opened_again(self, etcd: FakeEtcd, keepers: list[Keeper]) -> None:
        """As often as need be."""
        keepers.append(keeper := Keeper(etcd))
        keeper.it.keep(etcd.grant(TTL).lease, TTL)
        for count in range(1, 4):
            keeper.until("it is renewed", lambda count=count: len(keeper.renewed) >= count)  # type: ignore[misc]
            etcd.break_streams()
        assert keeper.gone == []

    def test_a_stream_that_cannot_be_opened_is_tried_again(self, hand: ByHand, keeper: Keeper) -> None:
        """Until it can."""
        hand.refuse = 3
        keeper.it.keep(1, TTL)
        hand.requests(1).answer(1)
        eventually("it is renewed", lambda: keeper.renewed)


class TestEnd:
    def test_close_ends_the_thread(self, hand: ByHand, keeper: Keeper) -> None:
        """Whatever it is waiting for."""
        keeper.it.keep(1, TTL)
        hand.requests(1).answer(1)
        eventually("it is renewed", lambda: keeper.renewed)
        keeper.it.close()
        eventually("it has ended", keeper.ended)

    def test_without_a_lease_there_is_no_stream_and_another_lease_opens_one(
        self, hand: ByHand, keeper: Keeper
    ) -> None:
        """A process that keeps nothing asks for nothing."""
        keeper.it.keep(1, TTL)
        hand.requests(1).answer(1)
        eventually("it is renewed", lambda: keeper.renewed)
        keeper.it.drop(1)
        keeper.until("the stream has ended", lambda: hand.streams[0].ended)
        assert len(hand.streams) == 1
        keeper.it.keep(2, TTL)
        hand.requests(1, number=1).answer(2)
        eventually("the other is renewed", lambda: [lease for lease, _ in keeper.renewed] == [1, 2])


def test_while_etcd_is_away_it_asks_ever_more_rarely_and_begins_anew_with_the_next_answer(
    hand: ByHand, keepers: list[Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[list[float]] = []

    def quick(first: float, most: float) -> Iterator[float]:
        mine: list[float] = []
        pauses.append(mine)
        for pause in delays(first, most, jitter=0):
            mine.append(pause)
            yield pause / 100

    monkeypatch.setattr("partition_workers.ownership.lease_keeper.delays", quick)
    keepers.append(keeper := Keeper(hand))
    hand.refuse = 6
    keeper.it.keep(1, TTL)
    stream = hand.requests(1)
    stream.answer(1)
    eventually("the answer is heard", lambda: keeper.renewed)
    hand.refuse = 2
    stream.cancel()
    hand.stream(1)
    assert pauses == [[0.05, 0.1, 0.2, 0.4, 0.5, 0.5], [0.05, 0.1, 0.2]]
