"""`partition-supervisor offsets`: where the partitions stand, and setting them elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from partition_supervisor.admin.render import dash, moment, table
from partition_supervisor.bounds import MOST_OFFSET
from partition_supervisor.commands.errors import PlainGroup
from partition_supervisor.commands.left_steps import left_by
from partition_supervisor.commands.offsets_forget import forget
from partition_supervisor.commands.options import etcd_options, kafka_options
from partition_supervisor.commands.order_options import (
    must_be_known,
    name_foreign,
    opened,
    partitions_argument,
    timeout_option,
)  # fmt: skip
from partition_supervisor.commands.output import DOCUMENTS, output_option, print_document, print_pretty, print_records
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.commands.status import complain
from partition_workers.errors import Misconfigured, Unreachable
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.admin.columns import Columns
    from partition_supervisor.admin.offsets import Aim, Offsets, Standing, Step

COLUMNS = ("PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "TOKEN", "COMMITTED", "OWNER")
RESET_COLUMNS = ("PARTITION", "CURRENT-OFFSET", "NEW-OFFSET")
TSV = ("topic", "partition", "offset", "end_offset", "lag", "token", "committed_at", "owner")
RESET_TSV = ("topic", "partition", "offset", "new_offset", "note")
#: Seconds that Kafka gets where it may be silent, and where it must answer.
KAFKA_PATIENCE, KAFKA_MUST = 3.0, 10.0


@click.group(cls=PlainGroup)
def offsets() -> None:
    """Show, set or forget the offsets in etcd: for each partition, the next record to process.

    \b
    Examples:
      $ partition-supervisor offsets show
      $ partition-supervisor offsets reset 'events[3]' --to-earliest
      $ partition-supervisor offsets forget
    """


@offsets.command()
@partitions_argument
@output_option
@kafka_options
@etcd_options
@timeout_option
def show(
    partitions: tuple[Partition, ...], output: str, bootstrap_servers: str, properties: tuple[str, ...], **values: Any
) -> None:
    """Show the offset of each partition, when and under which token it was committed, and how far Kafka is.

    TOKEN is that of the last commit; the owner's own is in `status`.

    \b
    Examples:
      $ partition-supervisor offsets show
      $ partition-supervisor offsets show 'events[3]' -o json
    \b
    The JSON: schema_version (1) and offsets (topic, partition, offset, end_offset, lag, token, committed_at,
    prepared, owner).
    Exit codes: 0 fine, 2 usage, 69 etcd unreachable, 78 no such partition.
    """
    from partition_supervisor.admin.offsets import SCHEMA_VERSION, Offsets
    from partition_supervisor.kafka.end_offsets import EndOffsets

    ends = EndOffsets({**properties_from(properties), "bootstrap.servers": bootstrap_servers})
    with opened(values) as group:
        stored = Offsets(group.etcd, group.keys)
        found = stored.look()
    name_foreign(stored.foreign)
    must_be_known(partitions, found)
    chosen = [each for p, each in found.items() if not partitions or p in partitions]
    try:
        reach = ends.of({each.partition.topic for each in chosen}, KAFKA_PATIENCE).offsets
    except Unreachable as error:
        complain(f"{error} LOG-END-OFFSET and LAG are not known.")
        reach = {}
    chosen = [replace(each, end=reach.get(each.partition)) for each in chosen]
    if output in DOCUMENTS:
        print_document({"schema_version": SCHEMA_VERSION, "offsets": [each.as_json() for each in chosen]}, output)
    elif output == "tsv":
        print_records(({**each.as_json(), "owner": each.owner and each.owner.host} for each in chosen), TSV)
    elif chosen:
        print_pretty(lambda width: standings_table(chosen, width))
    else:
        complain(f"the group {values['group']!r} has no offsets in etcd at {group.where}")


@offsets.command()
@partitions_argument
@click.option("-t", "--topic", "topics", multiple=True, help="All partitions of this topic. Repeatable.")
@click.option("--to-earliest", is_flag=True, help="To the first record that there is.")
@click.option("--to-latest", is_flag=True, help="To the end: only what comes from now on.")
@click.option("--to-offset", type=click.IntRange(0, MOST_OFFSET), metavar="N", help="To this record.")
@click.option("--to-datetime", metavar="ISO", help="To the first record of that time; UTC if it does not say.")
@click.option("--shift-by", type=click.IntRange(-MOST_OFFSET, MOST_OFFSET), metavar="N",
              help="N records on, or back if it is negative.")  # fmt: skip
@click.option("--execute", is_flag=True, help="Do it. Otherwise it is only shown.")
@click.option("--drop-state", is_flag=True, help="Delete the handler's state of these partitions, too.")
@output_option
@kafka_options
@etcd_options
@timeout_option
def reset(
    partitions: tuple[Partition, ...], topics: tuple[str, ...], execute: bool, drop_state: bool, output: str,
    bootstrap_servers: str, properties: tuple[str, ...], **values: Any,
) -> None:  # fmt: skip
    """Set the offset of partitions, each written as events[3] or events/3, while nobody owns them.

    Nothing is changed without --execute. An offset outside of what Kafka has becomes the nearest that it has.
    State and offset belong together: records that are processed again change the state a second time, unless
    --drop-state lets it begin anew, in the same transaction. A step with outputs that its owner had prepared is
    dropped; it is said whether readers have its outputs.

    \b
    Examples:
      $ partition-supervisor offsets reset --topic events --to-datetime 2030-01-31T12:00:00Z
    \b
      Process everything again:
      $ partition-supervisor pause 'events[3]' --wait
      $ partition-supervisor offsets reset 'events[3]' --to-earliest --drop-state --execute
      $ partition-supervisor resume 'events[3]'
    \b
      Pass over one record that cannot be processed:
      $ partition-supervisor offsets reset 'events[3]' --shift-by 1 --execute
    \b
    The JSON: schema_version (1), executed, state_dropped, offsets (topic, partition, offset, new_offset, note,
    prepared: a step with outputs that the reset drops).
    Exit codes: 0 fine, 2 usage, 3 a partition has an owner, 69 etcd or Kafka unreachable, 78 no such partition.
    """
    from partition_supervisor.admin.offsets import SCHEMA_VERSION, Offsets, Standing, plan, refuse_owned
    from partition_supervisor.kafka.end_offsets import Extents

    aim = aim_from(values)
    if not partitions and not topics:
        raise click.UsageError("say which: PARTITION..., or --topic TOPIC for all of its partitions")
    kafka_client = {**properties_from(properties), "bootstrap.servers": bootstrap_servers}
    kafka = Extents(kafka_client)
    with opened(values) as group:
        stored = Offsets(group.etcd, group.keys)
        found = stored.look()  # before Kafka is asked: an end that is read later is never behind an offset
        name_foreign(stored.foreign)
        extents = kafka.extents({*topics, *(p.topic for p in partitions)}, KAFKA_MUST, aim.milliseconds)
        if missing := sorted(set(topics) - {p.topic for p in extents}):
            raise Misconfigured(f"Kafka at {bootstrap_servers} has no topic {', '.join(missing)}")
        chosen = sorted({*partitions, *(p for p in extents if p.topic in topics)})
        steps = plan(aim, [found.get(p, Standing(p)) for p in chosen], extents)
        unowned = {s.partition: s.standing.stored.offset for s in steps if not s.standing.owner}
        left = left_by(group, {p: each for p, each in unowned.items() if each is not None}, kafka_client)
        if execute:
            refuse_owned(step.standing for step in steps)
            set_all(stored, steps, drop_state)
    if output in DOCUMENTS:
        told = {"executed": execute, "state_dropped": execute and drop_state}
        found_steps = [step.as_json() for step in steps]
        print_document({"schema_version": SCHEMA_VERSION, **told, "offsets": found_steps}, output)
    elif output == "tsv":
        print_records((step.as_json() for step in steps), RESET_TSV)
    else:
        print_pretty(lambda width: steps_table(steps, width))
    for line in (*(each.on_reset() for each in left.values()), *remarks(steps, execute, drop_state)):
        complain(line)


offsets.add_command(forget)


def aim_from(values: dict[str, Any]) -> Aim:
    """Take the five options out of a command's values; exactly one must be given."""
    from partition_supervisor.admin.offsets import Aim, To

    given = {to: value for to in To if (value := values.pop(to.replace("-", "_"))) not in (None, False)}
    if len(given) != 1:
        raise click.UsageError(f"say where to, with one of {', '.join(f'--{to}' for to in To)}")
    [(to, value)] = given.items()
    if to is To.DATETIME:
        return Aim(to, milliseconds_of(value))
    return Aim(to, int(value))


def milliseconds_of(written: str) -> int:
    try:
        moment_meant = datetime.fromisoformat(written)
    except ValueError:
        raise click.UsageError(f"--to-datetime {written}: write it as 2030-01-31T12:00:00Z") from None
    if moment_meant.tzinfo is None:
        moment_meant = moment_meant.replace(tzinfo=UTC)
    # Cut off, as Kafka's clients cut the times of records: rounded up, the first record of that time would be missed.
    return (moment_meant - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def set_all(stored: Offsets, steps: list[Step], drop_state: bool) -> None:
    """One after the other. If one is refused, those before it are told."""
    done: list[str] = []
    try:
        for step in steps:
            stored.set(step, drop_state)
            done.append(str(step.partition))
    finally:
        if len(done) < len(steps):
            complain(f"set before that: {', '.join(done)}" if done else "nothing was changed")


def remarks(steps: list[Step], execute: bool, drop_state: bool) -> Iterator[str]:
    """What the reader of the table must know besides."""
    for step in steps:
        if step.note:
            yield f"{step.partition}: {step.note}"
    if not drop_state:
        yield "the state stays as it is: records that are processed again change it again (see --drop-state)"
    elif not execute:
        yield "--drop-state: their state would be deleted, too"
    else:
        yield "their state was deleted, too"
    if not execute:
        for step in steps:
            if owner := step.standing.owner:
                yield f"{step.partition} has an owner ({owner.host}, pid {owner.pid}): pause it before --execute"
        yield "nothing was changed; add --execute"
    elif parked := [str(step.partition) for step in steps if step.standing.parked]:
        yield f"still parked: go on with: partition-supervisor resume {' '.join(parked)}"


def standings_table(standings: list[Standing], width: int) -> Columns:
    made = table(COLUMNS, width)
    for each in standings:
        stored, owner = each.stored.offset, each.owner
        made.add_row(
            str(each.partition), dash(each.offset), dash(each.end), dash(each.lag),
            dash(stored.token if stored else None), moment(stored.at if stored else None),
            (owner.host or "?") if owner else "(parked)" if each.parked else "(none)",
        )  # fmt: skip
    return made


def steps_table(steps: list[Step], width: int) -> Columns:
    made = table(RESET_COLUMNS, width, right=RESET_COLUMNS[1:])
    for step in steps:
        made.add_row(str(step.partition), dash(step.standing.offset), dash(step.target))
    return made
