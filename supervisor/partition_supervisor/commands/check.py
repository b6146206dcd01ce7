"""`partition-supervisor check`: what is wrong before it hurts, each with its fix."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_from
from partition_supervisor.commands.output import DOCUMENTS, named_output_option, print_document, print_records
from partition_supervisor.commands.run import config_from, run
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.printable import printable
from partition_workers.errors import ExitCode, Misconfigured, PartitionSupervisorError
from partition_workers.layout.keys import Keys
from partition_workers.model import EXACTLY_ONCE

if TYPE_CHECKING:
    from partition_supervisor.admin.check.findings import Finding
    from partition_supervisor.config import Config
    from partition_workers.etcd.client import Etcd

#: Seconds that Kafka gets for each answer.
PATIENCE = 5.0


@click.command(cls=PlainCommand)
@named_output_option("-o")  # --output is an option of `run`, and so of this
def check(output: str, **values: Any) -> None:
    """Look at etcd, Kafka, this host and the group, and say what is wrong and how to mend it.

    It takes the arguments of `run`, or its settings from the same file; run's --output TOPIC is --output-topic here.
    HANDLER and topics may be left out. It writes one small key to etcd and takes it away again; with outputs it
    begins to be a producer of transactions, and sends nothing. Nothing else is changed.

    \b
    Examples:
      $ partition-supervisor check
      $ partition-supervisor check app.py:handle --topic events -b kafka:9092 -e etcd-1:2379,etcd-2:2379
    \b
    Exit codes: 0 fine or warnings only, 3 something is not ok, what `run` would refuse included, 78 a file of
    settings that cannot be read, or a secret that is not there.
    """
    found = list(findings(values))
    if output in DOCUMENTS:
        print_document({"schema_version": 1, "findings": [each.as_json() for each in found]}, output)
    elif output == "tsv":
        print_records((each.as_json() for each in found), ("level", "name", "words", "fix"))
    else:
        for each in found:
            colour = {"ok": "green", "warning": "yellow", "not ok": "red"}[each.level]
            click.echo(f"{click.style(f'{each.level:<8}', fg=colour)} {each.name}: {printable(each.words)}")
            if each.fix:
                click.echo(f"{'':8}   {printable(each.fix)}")
    if any(each.level == "not ok" for each in found):
        sys.exit(int(ExitCode.CONDITION_NOT_MET))


for parameter in run.params:
    if parameter.name not in {each.name for each in check.params}:
        optional = copy.copy(parameter)
        optional.required = False
        if optional.name == "outputs":  # --output is the form of what is printed here, as for all commands
            optional.opts = ["--output-topic"]
        check.params.append(optional)


def findings(values: dict[str, Any]) -> Iterator[Finding]:
    """One after the other, so that what is slow is seen to be. What `run` would refuse is a finding like others."""
    from partition_supervisor.admin.check import etcd, host
    from partition_workers.etcd.client import Etcd

    config, refused = what_run_has(values)
    yield host.settings(refused)
    if values["handler"]:
        yield host.handler(values["handler"])
    try:
        options = etcd_from(dict(values))
        keys = Keys.of(values["etcd_prefix"], values["group"])
        properties = {**properties_from(values["properties"] or ()), "bootstrap.servers": values["bootstrap_servers"]}
    except Misconfigured as error:  # without these nobody can be asked
        if str(error) != refused:
            yield host.settings(str(error))
        return
    partitions = yield from said_by_kafka(values, properties, keys, config)
    workers = values["workers"] or partitions
    yield from host.limits(workers, host.descriptors(), host.processes(), os.cpu_count() or 1)
    yield etcd.lease(values["lease_ttl"])
    try:
        store = Etcd(options)
    except Misconfigured as error:
        yield host.settings(str(error))
        return
    try:
        yield from etcd.servers(store.status())
        yield from written(store, keys, partitions)
    finally:
        store.close()


def what_run_has(values: dict[str, Any]) -> tuple[Config | None, str]:
    """The configuration that `run` would make of these, or why it would make none. What may be left out here is
    thought of as given."""
    given = {each.name: values[each.name] for each in run.params if each.name in values and each.name != "log_format"}
    left_out = {"handler": "left:out", "topics": ("-",)}
    given |= {name: instead for name, instead in left_out.items() if not given[name]}
    try:
        return config_from(given), ""
    except Misconfigured as error:
        return None, str(error)


def said_by_kafka(
    values: dict[str, Any], properties: dict[str, str], keys: Keys, config: Config | None
) -> Generator[Finding, None, int]:
    """Returns how many partitions the topics have."""
    from partition_supervisor.admin.check import kafka, outputs
    from partition_supervisor.kafka.inspection import inspect, why_no_reader
    from partition_supervisor.kafka.transaction_inspection import inspect_transactions

    topics, outputs_given = tuple(values["topics"] or ()), tuple(values["outputs"] or ())
    try:
        facts = inspect(properties, topics, values["dlq_topic"], PATIENCE, outputs_given)
    except Misconfigured as error:
        yield kafka.properties(str(error))
        return 0
    if config is not None and (why := why_no_reader(config.kafka_reader(1))):
        yield kafka.properties(why)
    yield from kafka.kafka(facts)
    if facts.outputs and not facts.error:
        yield from outputs.topics(facts)
        if values["output_guarantee"] == EXACTLY_ONCE:
            transactions = inspect_transactions(properties, keys.outputs_group, PATIENCE)
            yield from outputs.transactions(transactions, facts.brokers)
    return sum(topic.partitions for topic in facts.topics)


def written(store: Etcd, keys: Keys, partitions: int) -> Iterator[Finding]:
    from partition_supervisor.admin.check import etcd, group
    from partition_supervisor.admin.group_documents import decode
    from partition_supervisor.admin.group_reader import everything
    from partition_supervisor.listing import Snapshot

    try:
        measured = etcd.measure(store, keys)
    except PartitionSupervisorError as error:
        yield etcd.writes(error)
        return
    yield etcd.writes(measured)
    try:
        yield etcd.memory(etcd.oldest_revision(store, keys, measured.revision), measured.revision)
        result = store.transact(everything(keys))
    except PartitionSupervisorError as error:
        yield etcd.writes(error)
        return
    items = tuple(item for found in result.answers for item in found)
    yield from group.group(decode(keys, Snapshot(result.revision, items)), partitions, group.clock())
