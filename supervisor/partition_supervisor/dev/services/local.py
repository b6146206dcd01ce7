"""Kafka and etcd as processes of this machine, real ones, without root rights and without containers.

Kafka is Java and lies in Maven Central, jar by jar; etcd is Go and is built from its modules in a minute.
Both are fetched once into the user's cache. A Kafka that is unpacked somewhere (KAFKA_HOME) or an etcd on the
PATH spares that; an etcd that is too old to be trusted does not count.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from functools import partial
from pathlib import Path
from string import Template

from partition_supervisor.dev.services import etcd
from partition_supervisor.dev.services.cache import cached, copy_file, read_file
from partition_supervisor.dev.services.part import Announce, Part, kafka_answers
from partition_supervisor.dev.services.processes import Processes, with_free_ports
from partition_workers.errors import PartitionSupervisorError

KAFKA = "4.3.1"
ETCD = "3.6.16"

JAVA = (
    '"$0" -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'
    ' -XX:-UsePerfData -Djava.io.tmpdir="$TMPDIR"'
    ' -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$1"'
)
FORMAT_AND_RUN = (
    f'{JAVA} kafka.tools.StorageTool format --ignore-formatted --cluster-id="$3" --config="$2" &&'
    f' exec {JAVA} kafka.Kafka "$2"'
)
"""One command, so that a restart is the same command again; exec, so that the pid is Kafka's; "=" because
an id may begin with a dash."""


def missing(wanted: frozenset[str]) -> str:
    wants = []
    if "kafka" in wanted:
        if not _java():
            wants.append("java (install a JDK or JRE, 17 or later)")
        if not _kafka_home() and not shutil.which("mvn"):
            wants.append("mvn (install Maven, or set KAFKA_HOME to an unpacked Kafka)")
    if "etcd" in wanted and not _etcd_on_path() and not shutil.which("go"):
        wants.append(f"go (install Go, or put an etcd >= {ETCD} on the PATH)")
    return "; ".join(wants)


def prepare(wanted: frozenset[str], processes: Processes, announce: Announce) -> None:
    if "kafka" in wanted:
        _kafka_libraries(processes, announce)
    if "etcd" in wanted:
        _etcd_binary(processes, announce)


def start_kafka(processes: Processes, announce: Announce) -> Part:
    libraries, origin = _kafka_libraries(processes, announce)

    def attempt(ports: list[int]) -> str:
        client, internal, controller = (f"127.0.0.1:{port}" for port in ports)
        properties = processes.folder / f"kafka-{ports[0]}.properties"
        clients = f"PLAINTEXT://{client},INTERNAL://{internal}"
        settings = kafka_settings(
            listeners=f"{clients},CONTROLLER://{controller}",
            advertised=clients,
            controller=controller,
            data=str(processes.folder / f"kafka-{ports[0]}"),
        )
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        java = [str(_java()), f"{libraries}/*", str(properties), _cluster_id()]
        processes.start("kafka", ["sh", "-c", FORMAT_AND_RUN, *java])
        try:
            processes.wait_for("kafka", partial(kafka_answers, client))
        except PartitionSupervisorError:
            processes.end("kafka")
            raise
        return client

    address = with_free_ports(3, attempt, first=processes.ports.get("kafka", ()))
    version = _kafka_version(libraries)
    return Part(address, f"Kafka {version} ({origin})", {"kafka": partial(kafka_answers, address)})


def start_etcd(processes: Processes, members: int, announce: Announce) -> Part:
    binary, origin = _etcd_binary(processes, announce)
    return etcd.start_members(processes, binary, members, origin)


def kafka_settings(*, listeners: str, advertised: str, controller: str, data: str) -> dict[str, str]:
    filled = Template(read_file("server.properties")).substitute(
        listeners=listeners, advertised=advertised, controller=controller, data=data
    )
    return dict(line.split("=", 1) for line in filled.splitlines() if not line.startswith("#"))


def _kafka_libraries(processes: Processes, announce: Announce) -> tuple[Path, str]:
    if home := _kafka_home():
        return home / "libs", "KAFKA_HOME"

    def download(folder: Path) -> None:
        copy_file("pom.xml", folder)
        maven = ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'libs'}")
        processes.run("maven", maven, cwd=folder)

    about = f"downloading Kafka {KAFKA} with Maven (43 MB, once)"
    return cached(f"kafka-{KAFKA}", download, about, processes, announce) / "libs", "Maven"


def _etcd_binary(processes: Processes, announce: Announce) -> tuple[Path, str]:
    if found := _etcd_on_path():
        return found, "on the PATH"

    def build(folder: Path) -> None:
        sources = folder / "sources"
        sources.mkdir()
        for name in ("go.mod", "tools.go"):
            copy_file(name, sources)
        environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
        processes.run("go", ["go", "mod", "tidy"], sources, environment)
        for program, module in (("etcd", "server"), ("etcdctl", "etcdctl")):
            build = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / program)]
            processes.run("go", [*build, f"go.etcd.io/etcd/{module}/v3"], sources, environment)

    about = f"building etcd {ETCD} with Go (about a minute, once)"
    return cached(f"etcd-{ETCD}", build, about, processes, announce) / "etcd", "built with Go"


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def _kafka_home() -> Path | None:
    home = os.environ.get("KAFKA_HOME")
    return Path(home) if home and _kafka_version(Path(home) / "libs") else None


def _kafka_version(libraries: Path) -> str:
    jars = (re.fullmatch(r"kafka_2\.\d+-(\d[\d.]*)\.jar", jar.name) for jar in libraries.glob("kafka_2.*.jar"))
    return next((jar.group(1) for jar in jars if jar), "")


def _etcd_on_path() -> Path | None:
    found = shutil.which("etcd")
    try:
        return Path(found) if found and etcd.is_new_enough(etcd.version(Path(found))) else None
    except (OSError, subprocess.SubprocessError):
        return None


def _cluster_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
