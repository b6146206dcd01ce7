"""A dead worker's lock goes to a warm standby, whatever gets lost on the way."""

from __future__ import annotations

import logging
from unittest import mock

import pytest

from partition_supervisor.cluster import takeover
from partition_supervisor.cluster.takeover import PATIENCE, Death, Named, Waiting
from partition_workers import retry
from partition_workers.errors import Refused
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import Cause, History, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
DEATH = Death("dead", now(), 2)
#: Seconds without a renewal that say that a standby is dead.
LATE = 2.5


class Stage:
    """A partition whose owner, `dead`, has just died."""

    def __init__(self) -> None:
        self.store = FakeEtcd()
        self.dead = self.standby("dead")
        lock = Lock.naming(self.dead, Cause.ACQUIRED)
        self.token = self.store.transact(transactions.acquire(KEYS, P, lock)).revision

    def standby(self, name: str, alive: bool = True) -> Standby:
        made = Standby(name, f"host-of-{name}", 1, f"{self.store.grant(3600).lease:x}", now())
        if not alive:
            self.store.revoke(made.lease_id)
        return made

    def take_over(self, *standbys: Standby, token: int | None = None, patience: float = PATIENCE) -> Named | None:
        return takeover.take_over(self.store, KEYS, P, DEATH, standbys, token, patience)

    def pass_on(self, named: Named, *standbys: Standby, renewed_ago: float = 60.0) -> Named | Waiting | None:
        """`renewed_ago`: seconds since the last renewal of the lease of who was named."""
        self.store.age(named.standby.lease_id, renewed_ago)
        return takeover.pass_on(self.store, KEYS, P, named, standbys, DEATH, LATE)

    def held(self) -> tuple[str, int] | None:
        found = self.store.get(KEYS.lock(P))
        return (Lock.decode(found.value).worker, found.mod_revision) if found else None


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(autouse=True)
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Whoever sleeps moves the clock instead: this one, in seconds."""
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(retry, "time", mock.Mock(monotonic=lambda: passed[0], sleep=sleep))
    return passed


class TestTakeOver:
    def test_a_lock_that_may_be_a_living_owners_is_not_deleted(self, stage: Stage) -> None:
        """Nobody is ready, or those who were are gone."""
        before = stage.held()
        for standbys in ([], [stage.standby("gone", alive=False)]):
            named = takeover.take_over(stage.store, KEYS, P, DEATH, standbys, stage.token, or_free=False)
            assert named is None
            assert stage.held() == before

    @pytest.mark.parametrize("known", [True, False, None], ids=["token known", "token wrong", "token unknown"])
    def test_the_first_standby_gets_the_lock(self, stage: Stage, known: bool | None) -> None:
        """Whether or not the dead worker's token was known; the successor's is that of the transaction."""
        first, second = stage.standby("first"), stage.standby("second")
        token = stage.token if known else None if known is None else stage.token + 100
        named = stage.take_over(first, second, token=token)
        assert named is not None
        assert (named.standby, stage.held()) == (first, ("first", named.token))
        assert named.token > stage.token

    def test_the_lock_says_how_and_when_it_came(self, stage: Stage) -> None:
        """Taken over, with the time at which the death was seen, and the how manieth it was."""
        stage.take_over(stage.standby("first"))
        found = stage.store.get(KEYS.lock(P))
        assert found is not None
        lock = Lock.decode(found.value)
        assert lock.cause == Cause.TAKEN_OVER
        assert (lock.exit_seen, lock.deaths) == (DEATH.exit_seen, DEATH.deaths)

    def test_a_standby_whose_lease_is_gone_is_passed_over(self, stage: Stage) -> None:
        """The next one gets it."""
        named = stage.take_over(stage.standby("gone", alive=False), stage.standby("second"))
        assert named is not None
        assert named.standby.worker == "second"

    @pytest.mark.parametrize("standbys", [0, 2])
    def test_without_a_living_standby_the_lock_is_freed(self, stage: Stage, standbys: int) -> None:
        """Nobody is named then, and whoever comes first may have it."""
        gone = [stage.standby(f"gone{number}", alive=False) for number in range(standbys)]
        assert stage.take_over(*gone) is None
        assert stage.held() is None

    @pytest.mark.parametrize("token", [None, 12345])
    def test_a_worker_that_had_no_lock_leaves_it_alone(self, stage: Stage, token: int | None) -> None:
        """Somebody else owns the partition, or nobody does."""
        successor = stage.standby("heir")
        stage.take_over(successor)
        held = stage.held()
        assert stage.take_over(stage.standby("late"), token=token) is None
        assert stage.held() == held
        assert held is not None
        stage.store.transact(transactions.take_over(KEYS, P, held[1], None))
        assert stage.take_over(stage.standby("late"), token=token) is None
        assert stage.held() is None

    @pytest.mark.parametrize("applied", [True, False])
    @pytest.mark.parametrize("times", [1, 3])
    def test_a_lost_answer_is_asked_for_again(self, stage: Stage, applied: bool, times: int) -> None:
        """Done or not, the standby is named once, under the token that it has."""
        for _ in range(times):
            stage.store.fail_next(applied=applied)
        first = stage.standby("first")
        named = stage.take_over(first, stage.standby("second"), token=stage.token)
        assert named == Named(first, stage.held()[1] if stage.held() else 0)  # type: ignore[index]
        found = stage.store.get(KEYS.lock(P))
        assert found is not None
        assert found.version == 2

    def test_a_lost_answer_to_a_release_is_no_reason_to_name_anybody(self, stage: Stage) -> None:
        """The lock is found free, and stays so."""
        stage.store.fail_next(applied=True)
        assert stage.take_over(token=stage.token) is None
        assert stage.held() is None

    @pytest.mark.parametrize("patience", [PATIENCE, 3.0])
    def test_etcds_silence_ends_it(self, stage: Stage, passed: list[float], patience: float) -> None:
        """Nobody is named, and the lease decides; soon, where it may be this host that is cut off."""
        for _ in range(1000):
            stage.store.fail_next(applied=False)
        assert stage.take_over(stage.standby("first"), token=stage.token, patience=patience) is None
        assert stage.held() == ("dead", stage.token)
        assert patience <= passed[0] <= patience + 1.0

    def test_the_dead_owner_cannot_commit_any_more(self, stage: Stage) -> None:
        """If it was not dead after all."""
        stage.take_over(stage.standby("first"))
        assert not stage.store.transact(transactions.still_mine(KEYS, P, stage.token)).succeeded


class TestPassOn:
    def test_a_successor_that_has_not_confirmed_is_replaced(self, stage: Stage) -> None:
        """The next living standby is named under a larger token."""
        named = stage.take_over(stage.standby("silent"))
        assert named is not None
        following = stage.pass_on(named, stage.standby("gone", alive=False), stage.standby("next"))
        assert isinstance(following, Named)
        assert stage.held() == ("next", following.token)
        assert following.token > named.token

    def test_a_successor_that_has_entered_stays(self, stage: Stage) -> None:
        """Its history record is there."""
        named = stage.take_over(stage.standby("slow"))
        assert named is not None
        begun = History(named.token, "slow", "h", 1, Cause.TAKEN_OVER, now())
        first = StoredOffset(0, named.token, 1, "id", now())
        entering = transactions.commit(KEYS, P, 0, first, {}, transactions.enter(KEYS, P, begun))
        assert stage.store.transact(entering).succeeded
        assert stage.pass_on(named, stage.standby("next")) is None
        assert stage.held() == ("slow", named.token)

    def test_a_lock_that_moved_on_stays_where_it_is(self, stage: Stage) -> None:
        """Somebody else was impatient first."""
        named = stage.take_over(stage.standby("silent"))
        assert named is not None
        first = stage.pass_on(named, stage.standby("next"))
        assert isinstance(first, Named)
        assert stage.pass_on(named, stage.standby("another")) is None
        assert stage.held() == ("next", first.token)

    @pytest.mark.parametrize("applied", [True, False])
    def test_after_an_unknown_outcome_it_is_asked_again(self, stage: Stage, applied: bool) -> None:
        """If it had landed, whoever has the lock then learns of it from its own supervisor."""
        named = stage.take_over(stage.standby("silent"))
        assert named is not None
        stage.store.fail_next(applied=applied, after=1)
        told = stage.pass_on(named, stage.standby("next"))
        assert (told is None) == applied
        held = stage.held()
        assert held is not None
        assert held[0] == "next"

    def test_without_another_standby_it_stays(self, stage: Stage) -> None:
        """Better a slow successor than none."""
        named = stage.take_over(stage.standby("silent"))
        assert named is not None
        assert stage.pass_on(named) == Waiting()
        assert stage.pass_on(named, stage.standby("gone", alive=False)) == Waiting()
        assert stage.held() == ("silent", named.token)

    @pytest.mark.parametrize("age", [0.0, 1.7, 2.4])
    def test_a_successor_whose_lease_is_being_renewed_stays(self, stage: Stage, age: float) -> None:
        """It is alive, and slow: on a machine or a way that is slow, the next one would be as slow."""
        named = stage.take_over(stage.standby("slow"))
        assert named is not None
        assert stage.pass_on(named, stage.standby("next"), renewed_ago=age) == Waiting()
        assert stage.held() == ("slow", named.token)
        assert stage.pass_on(named, stage.standby("next"), renewed_ago=4.6) != Waiting()

    def test_an_etcd_that_does_not_answer_is_asked_again_later(self, stage: Stage) -> None:
        """Nothing is known then, so nothing is done."""
        named = stage.take_over(stage.standby("silent"))
        assert named is not None
        stage.store.fail_next(applied=False)
        assert stage.pass_on(named, stage.standby("next")) == Waiting()
        assert stage.held() == ("silent", named.token)


class TestForget:
    def test_the_lease_goes_with_its_standby_key_and_the_log_is_closed(self, stage: Stage) -> None:
        """What is left of a dead worker ends at once, not when its time is over."""
        ready = stage.standby("ready")
        key = KEYS.standby(P, "ready")
        stage.store.transact(Txn((), (Put(key, ready.encode(), ready.lease_id),)))
        logs = mock.Mock(spec=logging.Handler)
        takeover.forget(stage.store, ready.lease_id, logs)
        assert stage.store.get(key) is None
        logs.close.assert_called_once_with()

    def test_a_lease_that_is_gone_already_is_no_error(self, stage: Stage) -> None:
        """And neither is an etcd that does not answer: the log is closed all the same."""
        gone = stage.standby("gone", alive=False)
        logs = mock.Mock(spec=logging.Handler)
        takeover.forget(stage.store, gone.lease_id, logs)
        stage.store.close()
        takeover.forget(stage.store, gone.lease_id, logs)
        assert logs.close.call_count == 2

    def test_the_log_is_closed_whatever_etcd_says(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its thread and its descriptors are this process's own."""
        monkeypatch.setattr(stage.store, "revoke", mock.Mock(side_effect=Refused("not allowed")))
        logs = mock.Mock(spec=logging.Handler)
        with pytest.raises(Refused):
            takeover.forget(stage.store, 17, logs)
        logs.close.assert_called_once_with()
