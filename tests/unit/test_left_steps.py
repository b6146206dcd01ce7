"""What people are told of a step with outputs that its owner prepared and left."""

from __future__ import annotations

import pytest

from partition_supervisor.admin.left_steps import Fate, LeftStep, left_steps
from partition_supervisor.cluster.retry import RetryingStore
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.documents import Prepared, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.outputs.steps import Known, Verdict, decide
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("prefix", "group")
E0, E1 = Partition("events", 0), Partition("events", 1)
PREPARED = Prepared("17.4", "17.3", 1042, {"n": "1"}, now())
EMPTY = Prepared("17.4", "", 1000, {}, now())


@pytest.mark.parametrize(
    ("prepared", "shown", "fate", "reset", "resume"),
    [
        (PREPARED, "17.4", Fate.COMMITTED, "readers have its outputs", "goes on at offset 1,042"),
        (PREPARED, "17.3", Fate.NOT_COMMITTED, "has not committed it", "handles its records again"),
        (EMPTY, "", Fate.NOT_COMMITTED, "has not committed it", "handles its records again"),
        (PREPARED, None, Fate.UNKNOWN, "does not say", "asks Kafka"),
        (PREPARED, "", Fate.LOST, "nobody can say", "offsets reset events[0]"),
        (PREPARED, "16.9", Fate.LOST, "nobody can say", "offsets reset events[0]"),
    ],
)
def test_its_fate_is_told_as_its_next_owner_would_decide(
    prepared: Prepared, shown: str | None, fate: Fate, reset: str, resume: str
) -> None:
    left = LeftStep(E0, prepared, shown)
    assert left.fate is fate
    assert all(words in told for words, told in ((reset, left.on_reset()), (resume, left.on_resume())))
    assert "step 17.4" in left.on_reset()
    if shown is not None:
        known = Known(shown, now()) if shown else None
        verdict = decide(prepared.number, prepared.before, known, is_fenced=True)
        assert verdict is {
            Fate.COMMITTED: Verdict.DONE, Fate.NOT_COMMITTED: Verdict.DROPPED, Fate.LOST: Verdict.UNKNOWN,
        }[fate]  # fmt: skip


def test_only_what_the_offset_names_counts() -> None:
    """Anything else is a leftover."""
    store = FakeEtcd()
    for partition in (E0, E1):
        store.transact(Txn((), (Put(KEYS.prepared(partition), PREPARED.encode()),)))
    stored = StoredOffset(1000, 17, 4, "", now(), prepared="17.4")
    etcd = RetryingStore(store, 1.0, "the fake")
    offsets = {E0: stored, E1: StoredOffset(1000, 17, 5, "", now())}
    assert left_steps(etcd, KEYS, offsets) == {E0: PREPARED}
    assert left_steps(etcd, KEYS, {E0: StoredOffset(1000, 17, 6, "", now(), prepared="17.6")}) == {}
