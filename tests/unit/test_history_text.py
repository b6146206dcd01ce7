"""History in words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime

import pytest

from partition_supervisor.admin.history_text import (
    Episode,
    as_json,
    beginning,
    duration,
    ending,
    episodes,
    in_words,
    moment,
    told_gap,
)
from partition_workers.layout.documents import Cause, Ending, History
from partition_workers.model import Partition

E0, E3 = Partition("events", 0), Partition("events", 3)
SINCE, UNTIL = "2030-01-01T12:00:03.214000Z", "2030-01-01T12:04:10.100000Z"
ELSEWHERE = date(2000, 1, 1)
FIRST = History(12, "w1", "host-a", 8800, Cause.ACQUIRED, SINCE, 0)
GAP = {"exit_seen": 50.0, "lock_taken": 56.1, "state_loaded": 63.2, "first_record": 73.0}
SECOND = History(18, "w2", "host-b", 8812, Cause.TAKEN_OVER, SINCE, 1043, SINCE, GAP)


def local(written: str) -> str:
    return f"{datetime.fromisoformat(written).astimezone():%H:%M:%S}"


def test_a_takeover_tells_from_whom_where_and_how_long_it_took() -> None:
    assert beginning(Episode(E3, SECOND, before=FIRST)) == (
        "host-b (pid 8812) took over from host-a at offset 1,043, token 18:"
        " 23 ms after the exit was seen (lock 6 ms, state 13 ms, first record 23 ms)"
    )


def test_what_became_of_a_step_with_outputs_is_told() -> None:
    for step, words in (("applied 12.7", "it applied step 12.7"), ("dropped 12.7", "it dropped step 12.7")):
        told = beginning(Episode(E3, replace(SECOND, step=step), before=FIRST))
        assert told.endswith(f"; {words} of its predecessor's outputs")


@pytest.mark.parametrize(
    ("cause", "before", "words"),
    [
        (Cause.ACQUIRED, None, "host-b (pid 8812) acquired it at offset 7, token 18"),
        (Cause.ACQUIRED, FIRST, "host-b (pid 8812) acquired it, after host-a, at offset 7, token 18"),
        (Cause.HANDED_OVER, FIRST, "host-b (pid 8812) was handed it by host-a at offset 7, token 18"),
        (Cause.TAKEN_OVER, None, "host-b (pid 8812) took over at offset 7, token 18"),
        ("by-magic", None, "host-b (pid 8812) got it (by-magic) at offset 7, token 18"),
    ],
)
def test_every_way_to_begin_has_words(cause: str, before: History | None, words: str) -> None:
    assert beginning(Episode(E3, History(18, "w2", "host-b", 8812, cause, SINCE, 7), before)) == words


def test_without_a_death_the_gap_counts_from_the_last_commit() -> None:
    assert told_gap({"lock_taken": 2.0, "state_loaded": 4.4, "first_record": 5200.0}) == (
        "5.2 s after the last commit (lock 2 ms, state 4 ms, first record 5.2 s)"
    )


def test_a_gap_that_is_not_over_is_not_told() -> None:
    assert told_gap({"lock_taken": 2.0}) == told_gap({}) == ""


@pytest.mark.parametrize(
    ("closed", "words"),
    [
        (FIRST.closed(Ending.HANDED_OVER, 2001, at=UNTIL), "offset 2,001: handed over to host-b"),
        (FIRST.closed(Ending.DIED, 2001, at=UNTIL), "offset 2,001: died"),
        (FIRST.closed(Ending.STOPPED, 2001, at=UNTIL), "offset 2,001: released"),
        (FIRST.closed(Ending.PARKED, 5, "no such table", UNTIL), "offset 5: parked: no such table"),
    ],
)
def test_every_way_to_end_has_words(closed: History, words: str) -> None:
    told = ending(Episode(E3, closed, after=SECOND), datetime.fromisoformat(UNTIL).astimezone().date())
    assert told == f"until {local(UNTIL)}.100, {words}"


def test_what_has_not_ended_is_owned_still_or_not_known() -> None:
    assert ending(Episode(E3, SECOND, lasts=True), ELSEWHERE) == "still the owner"
    assert ending(Episode(E3, SECOND), ELSEWHERE) == "how it ended is not known yet"


def test_the_newest_is_last_across_partitions_and_knows_its_neighbours() -> None:
    other = History(15, "w3", "host-c", 1, Cause.ACQUIRED, SINCE)
    told = episodes({E3: [SECOND, FIRST], E0: [other]}, {E3: 18, E0: 99})
    assert [episode.record.token for episode in told] == [12, 15, 18]
    assert [episode.before for episode in told] == [None, None, FIRST]
    assert [episode.after for episode in told] == [SECOND, None, None]
    assert [episode.lasts for episode in told] == [False, False, True]


def test_two_lines_for_each_one_under_the_other() -> None:
    told = episodes({E3: [FIRST], Partition("events", 10): [SECOND]}, {})
    first, end, second, _ = in_words(told, ELSEWHERE)
    column = first.index("host-a")
    assert first.startswith("2030-01-01 ")
    assert first[:column].split()[-1] == "events[3]"
    assert end == " " * column + "how it ended is not known yet"
    assert second.index("host-b") == column
    assert in_words([], ELSEWHERE) == []


def test_the_json_has_exactly_the_public_fields() -> None:
    document = json.loads(json.dumps(as_json(episodes({E3: [SECOND]}, {}))))
    assert list(document) == ["schema_version", "history"]
    [entry] = document["history"]
    assert set(entry) == {
        "topic", "partition", "token", "worker", "host", "pid", "cause", "since", "from_offset", "last_commit", "gap",
        "until", "to_offset", "ending", "reason", "step",
    }  # fmt: skip
    assert (entry["topic"], entry["partition"], entry["gap"]) == ("events", 3, GAP)


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0.4, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (180_000, "3 min"), (7_200_000, "2 h")],
)
def test_durations_are_as_exact_as_people_need(milliseconds: float, words: str) -> None:
    assert duration(milliseconds) == words


def test_a_moment_of_today_needs_no_day_and_nonsense_is_passed_on() -> None:
    today = datetime.fromisoformat(SINCE).astimezone().date()
    assert moment(SINCE, today) == f"{local(SINCE)}.214"
    assert moment(SINCE, ELSEWHERE).endswith(f" {local(SINCE)}.214")
    assert moment("yesterday", today) == "yesterday"


def test_who_did_not_take_it_is_told_of_and_is_nobodys_neighbour() -> None:
    """It was never an owner: the next one came by it from the one before."""
    why = "its lease ended after 3.1 s"
    offered = History(15, "w3", "host-c", 9, Cause.HANDED_OVER, SINCE, 1043).closed(
        Ending.NOT_TAKEN, 1043, why, UNTIL
    )
    told = episodes({E3: [FIRST, offered, SECOND]}, {E3: 18})
    assert [each.before for each in told] == [None, FIRST, FIRST]
    assert [each.after for each in told] == [SECOND, SECOND, None]
    assert beginning(told[1]) == "host-c (pid 9) was offered it by host-a at offset 1,043, token 15"
    assert ending(told[1], ELSEWHERE).endswith(f"offset 1,043: did not take it: {why}")
