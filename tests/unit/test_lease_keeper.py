"""Keeping leases alive, and knowing until when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from partition_workers.ownership.lease_keeper import AT_ONCE, PATIENCE
from partition_workers.retry import delays
from tests.eventually import eventually
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.keepalives import EVERY, TTL, ByHand, Keeper, Stream


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

    def test_it_is_said_while_a_stream_is_silent(self, hand: ByHand, keeper: Keeper) -> None:
        """Nobody has to answer for that."""
        keeper.it._patience = 1000.0
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
