"""What the commands share that give orders: options, the group's keys, waiting until an order is carried out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from partition_supervisor.bounds import WAITED
from partition_supervisor.commands.options import Within, etcd_from, option
from partition_supervisor.commands.status import complain
from partition_workers.errors import ExitCode, Misconfigured
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.cluster.retry import RetryingStore

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds that --wait waits when it is given without a number, and between two looks.
WAIT, LOOK_EVERY = 30.0, 0.05


def partition_named(written: str) -> Partition:
    """The click type of a partition."""
    try:
        return Partition.parse(written)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def seconds_given(written: str | float) -> float:
    """The click type of a time to wait, whose number may be left out: then the next word is taken for it."""
    try:
        seconds = float(written)
    except ValueError:
        raise click.BadParameter(f"{written!r} is no number of seconds; partitions come before --wait") from None
    if complaint := WAITED.complaint(seconds):
        raise click.BadParameter(f"{written}: {complaint}")
    return seconds


def partitions_argument(command: F) -> F:
    return click.argument("partitions", nargs=-1, type=partition_named, metavar="[PARTITION...]")(command)


def wait_option(help_text: str) -> Callable[[F], F]:
    return click.option(
        "-w", "--wait", type=seconds_given, is_flag=False, flag_value=WAIT, default=None, metavar="[SECONDS]",
        help=f"{help_text} {WAIT:g} seconds if nothing else is said; exit code 3 if that is not enough.",
    )  # fmt: skip


def timeout_option(command: F) -> F:
    return option("--timeout", type=Within(WAITED), default=5.0, show_default=True,
                  metavar="SECONDS", help="How long to wait for etcd to answer.")(command)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """The group that a command is about. `where`: the endpoints of its etcd."""

    etcd: RetryingStore
    keys: Keys
    where: str


@contextmanager
def opened(values: dict[str, Any]) -> Iterator[Group]:
    """From the values of `etcd_options` and `timeout_option`."""
    from partition_supervisor.cluster.retry import RetryingStore
    from partition_workers.etcd.client import Etcd

    options = etcd_from(values)
    where = ",".join(options.endpoints)
    store = Etcd(options)
    try:
        yield Group(
            RetryingStore(store, values["timeout"], where), Keys.of(values["etcd_prefix"], values["group"]), where
        )
    finally:
        store.close()


def must_be_known(asked: Iterable[Partition], known: Iterable[Partition]) -> None:
    """A slip of the pen must not become a key that nobody looks for."""
    unknown = sorted(set(asked) - set(known))
    if unknown:
        listed = ", ".join(map(str, sorted(known))) or "none at all"
        raise Misconfigured(f"this group has no {', '.join(map(str, unknown))}; it has {listed}")


def name_foreign(found: Iterable[ForeignKey]) -> None:
    """What was passed over, with the command that removes it."""
    for each in found:
        complain(f"in etcd: {each}")


def wait_until(missing: Callable[[], list[str]], seconds: float) -> None:
    """Until nothing is missing. Otherwise the command ends with 3, and says what is."""
    until = time.monotonic() + seconds
    while left := missing():
        if time.monotonic() > until:
            complain(f"not within {seconds:g} s:")
            for line in left:
                complain(f"  {line}")
            sys.exit(int(ExitCode.CONDITION_NOT_MET))
        time.sleep(LOOK_EVERY)  # it is etcd's state that is waited for; a person does not notice the difference
