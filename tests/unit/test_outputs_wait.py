"""More outputs than may gather, while Kafka does not take any yet."""

from __future__ import annotations

import pytest

from partition_workers import producing_commits
from partition_workers.outputs import buffer
from tests.fakes.kafka import FakeRecord
from tests.fakes.outputs import Stage
from tests.fakes.record_loop import P


@pytest.mark.parametrize("full_at", [(5, 10**9), (10**9, 5 * (buffer.EACH + 4))], ids=["records", "bytes"])
def test_an_owner_that_is_full_before_its_producer_is_initialised_goes_on_when_it_is(
    monkeypatch: pytest.MonkeyPatch, full_at: tuple[int, int]
) -> None:
    for module in (buffer, producing_commits):
        monkeypatch.setattr(module, "FULL_AT", full_at)
    stage = Stage([FakeRecord(P, number, b"x") for number in range(40)])
    owner = stage.owner(one_by_one=False, by_steps=True)
    waits: list[int] = []

    def on_wait() -> None:
        waits.append(1)
        assert len(waits) < 1000, "it waits for ever"
        if len(waits) == 3:
            owner.at_once()

    owner.interrupt.on_wait = on_wait
    owner.line.at_once = True  # etcd answers all the time
    for _ in range(20):
        owner.turn()
    owner.run()

    offset, state, sent = stage.expected()
    assert len(waits) >= 3
    assert stage.broker.largest_transaction <= 6
    assert stage.seen() == sent
    assert stage.stored() == (offset, state)
