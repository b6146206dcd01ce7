"""`partition-supervisor produce`: sample records, to have something to process."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from partition_supervisor.bounds import MOST_BYTES, MOST_PARTITIONS, MOST_RATE, MOST_RECORDS, WAITED, Bounds
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import Within, kafka_options, option
from partition_supervisor.commands.settings import properties_from

#: Seconds after which waiting for the end deserves a progress bar.
LONG = 1.0


@click.command(cls=PlainCommand)
@option("-t", "--topic", default="events", show_default=True, help="The topic to write to.")
@option("-c", "--count", type=click.IntRange(0, MOST_RECORDS), default=10, show_default=True,
        help="How many records; 0: until Ctrl-C.")  # fmt: skip
@option("--rate", type=Within(Bounds(0, MOST_RATE)), default=0.0, show_default=True, metavar="PER-SECOND",
        help="How many records a second; 0: as fast as possible.")  # fmt: skip
@option("--size", type=click.IntRange(0, MOST_BYTES), default=0, metavar="BYTES",
        help="Pad each value to so many bytes.")  # fmt: skip
@option("--partitions", type=click.IntRange(1, MOST_PARTITIONS), default=None, metavar="N",
        help="Create the topic with so many partitions if it does not exist.")  # fmt: skip
@option("--round-robin", is_flag=True,
        help="Deal the records out to the partitions in turn, instead of by their keys.")  # fmt: skip
@kafka_options
@option("--connect-timeout", type=Within(WAITED), default=10.0, show_default=True,
        metavar="SECONDS", help="How long to wait for Kafka at the start.")  # fmt: skip
def produce(
    topic: str,
    count: int,
    rate: float,
    size: int,
    partitions: int | None,
    round_robin: bool,
    bootstrap_servers: str,
    properties: tuple[str, ...],
    connect_timeout: float,
) -> None:
    """Fill a topic with sample records: key-0 with value-0, key-1 with value-1, and so on.

    Records with the same key go to the same partition. Each is written once, in order, and waited for: the
    command succeeds only if Kafka acknowledged all of them.

    \b
    Examples:
      Ten records, into a topic that is made with 4 partitions if need be:
      $ partition-supervisor produce --topic events --partitions 4
    \b
      A steady stream until Ctrl-C:
      $ partition-supervisor produce -t events --count 0 --rate 100
    \b
      A million records of 1 KiB, evenly spread, compressed:
      $ partition-supervisor produce --count 1000000 --size 1024 --round-robin -X compression.type=lz4
    \b
    Exit codes: 0 all acknowledged, 1 some were not, 69 Kafka unreachable, 78 no such topic, or one that has
    another number of partitions; 130 or 143 interrupted before the end, with the acknowledged records told.
    """
    from partition_supervisor.kafka.sample_producer import (
        Sample,
        SampleProducer,
        SampleTopics,
        client_config,
        failure,
    )

    config = client_config(bootstrap_servers, properties_from(properties))
    sample = Sample(topic, count, rate, size, round_robin)
    found = SampleTopics(config).prepare(topic, partitions, connect_timeout)
    with stopping() as signals, Bar(count) as bar:
        tally = SampleProducer(config, stopped=lambda: bool(signals), progress=bar.show).write(sample, found)
    speed = tally.acknowledged / tally.seconds if tally.seconds else 0.0
    click.echo(
        f"produced {tally.acknowledged} records to {topic} in {tally.seconds:.1f} s ({speed:,.0f}/s)", err=True
    )
    if tally.error:
        raise failure(sample, tally)
    if signals and count:
        click.echo(f"interrupted: {count - tally.acknowledged} of {count} records were not written", err=True)
        sys.exit(128 + signals[0])


@contextmanager
def stopping() -> Iterator[list[int]]:
    """The signals that asked to stop, as they come. A second one does not wait."""
    got: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if got:
            raise KeyboardInterrupt
        got.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bar:
    """A progress bar on standard error, for people, when it takes long."""

    def __init__(self, count: int) -> None:
        self._since = time.monotonic()
        columns = (BarColumn(), MofNCompleteColumn()) if count else (TextColumn("{task.completed:,.0f}"),)
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("acknowledged"), *columns, TextColumn("{task.fields[speed]}"), TimeElapsedColumn(),
            console=console, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=count or None, speed="")
        self._wanted = console.is_terminal
        self._shown = False

    def show(self, acknowledged: int) -> None:
        """Called often; drawn ten times a second."""
        passed = time.monotonic() - self._since
        if not self._wanted or passed < LONG:
            return
        if not self._shown:
            self._progress.start()
            self._shown = True
        self._progress.update(self._task, completed=acknowledged, speed=f"{acknowledged / passed:,.0f}/s")

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._progress.stop()
