"""Frameworks that people would use instead, each installed into an environment of its own in the user's cache.

    ENVIRONMENT/bin/python -m tests.benchmarks.frameworks NAME '{"settings": {...}, "topic": ...}'

Each gives every record's value to the same counting as the others, by the way that its own introduction shows, with
the fetch settings of our workers where it takes settings of librdkafka. What remains at its default is when it
commits. At the top only the standard library is imported: these environments have nothing of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.benchmarks.counting import Counter

#: What is installed for each.
PACKAGES = {
    "quixstreams": "quixstreams==3.28.1",
    "arroyo": "sentry-arroyo==2.48.0",
    "faust": "faust-streaming[rocksdict]==0.15.3",
}


def python_of(name: str, say: Callable[[str], None]) -> Path:
    """The interpreter that has the framework; installed now when it is not yet.

    Raises PartitionSupervisorError when it does not install.
    """
    from partition_supervisor.dev.services.cache import cached
    from partition_supervisor.dev.services.processes import Processes

    package = PACKAGES[name]

    def install(folder: Path) -> None:
        processes.run("venv", [sys.executable, "-m", "venv", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", package]
        processes.run("pip", pip, folder)

    with Processes() as processes:
        return cached(f"rival-{package}", install, f"installing {package}", processes, say) / "bin" / "python"


def count(counter: Counter, value: bytes) -> None:
    counter.bytes += len(value)
    counter.left -= 1
    if counter.left <= 0:
        counter.mark()


def quixstreams(order: dict[str, Any]) -> None:
    counter, settings = Counter(), order["settings"]
    application = import_module("quixstreams").Application(
        broker_address=settings.pop("bootstrap.servers"),
        consumer_group=settings.pop("group.id"),
        auto_offset_reset="earliest",
        consumer_extra_config=settings,
        processing_guarantee=order["guarantee"],
        loglevel="WARNING",
    )
    stream = application.dataframe(application.topic(order["topic"], value_deserializer="bytes"))

    def count_by_key(value: bytes, state: Any) -> None:
        state.set("count", state.get("count", 0) + 1)
        count(counter, value)

    if order["by key"]:  # its state is that of the record's key, in RocksDB, with a changelog topic
        stream.update(count_by_key, stateful=True)
    else:
        stream = stream.update(lambda value: count(counter, value))
    if order["to"]:
        stream.to_topic(application.topic(order["to"], value_serializer="bytes"))
    application.run()


def arroyo(order: dict[str, Any]) -> None:
    kafka, processing = import_module("arroyo.backends.kafka"), import_module("arroyo.processing")
    strategies, types = import_module("arroyo.processing.strategies"), import_module("arroyo.types")
    counter, settings = Counter(), order["settings"]

    class Factory:
        def create_with_partitions(self, commit: Any, _partitions: Any) -> Any:
            committing = strategies.CommitOffsets(commit)
            return strategies.RunTask(lambda message: count(counter, message.payload.value), committing)

        def shutdown(self) -> None:
            pass

    configuration = import_module("arroyo.backends.kafka.configuration").build_kafka_consumer_configuration(
        settings, group_id=settings.pop("group.id"), auto_offset_reset="earliest"
    )
    consumer = kafka.KafkaConsumer(configuration)
    processing.StreamProcessor(consumer, types.Topic(order["topic"]), Factory()).run()


def faust(order: dict[str, Any]) -> None:
    module: Any = import_module("faust")
    counter, settings = Counter(), order["settings"]
    application = module.App(
        settings["group.id"],
        broker=f"kafka://{settings['bootstrap.servers']}",
        consumer_auto_offset_reset="earliest",
        value_serializer="raw",
        topic_disable_leader=True,
        web_enabled=False,
        topic_partitions=1,
        store="rocksdb://?driver=rocksdict" if order["by key"] else "memory://",
        datadir=str(Path.cwd()),
        processing_guarantee=order["guarantee"].replace("-", "_"),
    )
    table: Any = application.Table("counts", default=int) if order["by key"] else None

    async def process(stream: Any) -> None:
        async for value in stream:
            count(counter, value)

    async def count_by_key(stream: Any) -> None:
        async for key, value in stream.items():
            table[key] += 1
            count(counter, value)

    async def forward(stream: Any) -> None:
        async for key, value in stream.items():
            await out.send(key=key, value=value)
            count(counter, value)

    def topic_of(name: str) -> Any:
        return application.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw")

    out: Any = topic_of(order["to"]) if order["to"] else None
    agent = forward if order["to"] else count_by_key if order["by key"] else process
    application.agent(topic_of(order["topic"]))(agent)
    module.Worker(application, loglevel="WARNING").execute_from_commandline()


def main() -> NoReturn:
    {"quixstreams": quixstreams, "arroyo": arroyo, "faust": faust}[sys.argv[1]](json.loads(sys.argv[2]))
    sys.exit("it ended by itself")


if __name__ == "__main__":
    main()
