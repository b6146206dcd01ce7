"""When a reader that brings nothing asks whether there is something, and when it begins anew."""

from __future__ import annotations

from partition_workers.kafka.starvation import FIRST_LOOK, LAST_LOOK, Starvation


def looks(starvation: Starvation, begin: float, until: float, more: bool) -> tuple[list[float], list[float]]:
    """When it asks, and when it assigns anew, while there always is more or never."""
    asked, anew = [], []
    for step in range(int(begin * 10), int(until * 10)):
        now = step / 10
        if starvation.is_due(now):
            asked.append(now)
            if starvation.answered(now, more):
                anew.append(now)
    return asked, anew


def test_an_idle_reader_asks_ever_more_rarely_and_never_begins_anew() -> None:
    starvation = Starvation()
    starvation.begin(0.0)
    asked, anew = looks(starvation, 0.0, 100.0, more=False)
    assert anew == []
    assert asked[0] >= FIRST_LOOK
    assert len(asked) <= 4 + 100.0 / LAST_LOOK
    assert starvation.since is None


def test_a_reader_that_is_behind_begins_anew_within_some_seconds() -> None:
    """Also one that had come to the end, and one that had just read: not only at the beginning."""
    for before in (Starvation.feed, lambda each: each.rest(0.0), lambda each: each.begin(0.0)):
        starvation = Starvation()
        before(starvation)
        asked, anew = looks(starvation, 0.0, 60.0, more=True)
        assert anew[0] <= LAST_LOOK + 1.0
        assert anew[0] > asked[0], "not at the first look: it may be on its way"
        assert len(anew) <= 3 + 60.0 / LAST_LOOK
        assert starvation.since == asked[0]


def test_what_comes_ends_it() -> None:
    for cure in (Starvation.feed, lambda each: each.rest(5.0), lambda each: each.answered(5.0, False)):
        starvation = Starvation()
        starvation.unanswered(1.0)
        starvation.unanswered(3.0)
        assert starvation.since == 1.0
        cure(starvation)
        assert starvation.since is None
