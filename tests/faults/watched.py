"""Two hosts as Prometheus and Kubernetes see them: the dashboard's queries and the alerts in a real Prometheus while
workers are killed, and the probes during a minute without etcd.

`python -m tests.faults.watched`, with Debian's `prometheus` on the PATH; three minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import wait_for
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services.processes import free_ports
from partition_workers.layout.documents import Host

GRAFANA = Path(__file__).parents[2] / "docker" / "grafana"
TOPIC, PARTITIONS = "watched", 4
#: Seconds: of load with kills, between two kills, and without etcd.
WATCHED, KILL_EVERY, SILENCE = 60.0, 6.0, 60.0


def say(line: str) -> None:
    click.echo(line, err=True)


def queries(of: str) -> Iterator[tuple[str, str]]:
    """Those of the dashboard and of the alerts, as Grafana would send them for that group."""
    chosen = {"$__rate_interval": "15s", "$instance": ".*", "$group": of}
    for panel in json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in chosen.items():
                query = query.replace(variable, value)
            yield panel["title"], query
    (group,) = yaml.safe_load((GRAFANA / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]:
        yield f"alert {rule['alert']}", rule["expr"]


@contextmanager
def prometheus(targets: list[str], folder: Path) -> Iterator[str]:
    """Its address. It scrapes every second."""
    scrape = {"job_name": "partition-supervisor", "static_configs": [{"targets": targets}]}
    (folder / "alerts.yaml").write_text((GRAFANA / "alerts.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    config = {"global": {"scrape_interval": "1s"}, "rule_files": ["alerts.yaml"], "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, stdout=sys.stderr)

    address = f"127.0.0.1:{free_ports(1)[0]}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for("Prometheus is ready", lambda: answer(f"http://{address}/-/ready")[0] == 200, 30.0)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def answer(url: str) -> tuple[int, str]:
    """0: there was none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def ask(address: str, query: str) -> list[dict[str, Any]]:
    code, text = answer(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    if code != 200:
        raise RuntimeError(f"{query}: {text}")
    found: list[dict[str, Any]] = json.loads(text)["data"]["result"]
    return found


def kill_now_and_then(cluster: DemoCluster) -> int:
    """An owner each time, under load."""
    until, kills = time.monotonic() + WATCHED, 0
    while time.monotonic() < until:
        time.sleep(KILL_EVERY)
        owners = list(cluster.judge.owners().values())
        os.kill(owners[kills % len(owners)].pid, signal.SIGKILL)
        kills += 1
    return kills


def without_etcd(running: services.Services, addresses: list[str]) -> dict[str, Counter[int]]:
    """All members are stopped, not ended: nobody refuses, nobody answers. What each probe said, and how often."""
    said: dict[str, Counter[int]] = {"/livez": Counter(), "/readyz": Counter()}
    members = [pid for name, pid in running.processes.items() if name.startswith("etcd")]
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + SILENCE
        while time.monotonic() < until:
            for address in addresses:
                for path, codes in said.items():
                    codes[answer(f"http://{address}{path}")[0]] += 1
            time.sleep(0.5)
    finally:
        for pid in members:
            os.kill(pid, signal.SIGCONT)
    return said


@click.command()
def main() -> None:
    """Prints a table of the queries, with how many series each has found, and what the probes said."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            raise click.UsageError(f"there is no {program} on the PATH: apt-get install prometheus")
    with services.start("local", announce=say) as running, tempfile.TemporaryDirectory() as folder:
        create_topic(running.bootstrap_servers, TOPIC, PARTITIONS)
        with DemoCluster(running.bootstrap_servers, running.etcd_endpoints, TOPIC, PARTITIONS) as cluster:
            cluster.start()
            cluster.load.start()
            documents = [cluster.store.get(cluster.keys.host(name)) for name in cluster.hosts]
            addresses = [Host.decode(each.value).address for each in documents if each is not None]
            with prometheus(addresses, Path(folder)) as server:
                kills = kill_now_and_then(cluster)
                click.echo(f"{running.description}; {kills} owners killed in {WATCHED:g} s\n")
                click.echo("| where | query | series | a value |\n| --- | --- | ---: | ---: |")
                for where, query in queries(cluster.group):
                    found = ask(server, query)
                    value = f"{float(found[0]['value'][1]):.4g}" if found else ""
                    click.echo(f"| {where} | `{query}` | {len(found)} | {value} |")
            said = without_etcd(running, addresses)
            told = "; ".join(f"{path} {dict(codes)}" for path, codes in said.items())
            click.echo(f"\n{SILENCE:g} s without etcd: {told}")
            wait_for("all partitions have owners again", lambda: len(cluster.judge.owners()) == PARTITIONS, 60.0)
            bad = [str(each) for each in cluster.finish(60.0) if not each.is_good]
            click.echo(f"afterwards: {bad or 'nothing lost, doubled or out of order'}")
    sys.exit(1 if bad or set(said["/livez"]) != {200} else 0)


if __name__ == "__main__":
    main()
