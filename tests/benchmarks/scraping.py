"""What the metrics cost a host where nothing happens: beside the same group with `--http none`, all at one time.

`python -m tests.benchmarks scraping`. Of each group the first host owns all, the second waits; they are looked at in
the same seconds, first while nobody reads `/metrics`, then while it is read as often as Prometheus does.
"""

from __future__ import annotations

import statistics
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.layout.documents import Host
from tests.benchmarks.fleet import Fleet, idle

#: Seconds of each look, and how many looks.
LOOK, LOOKS = 8.0, 6
#: Seconds between two scrapes: what most people give to Prometheus.
INTERVAL = 15.0
#: Seconds for a group to be whole beside another one.
PATIENCE = 240.0

ROLES = {"a": "owners", "b": "standbys"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Percent of a core at each look: of all processes of a host, and of those of them that are not workers."""

    system: str
    role: str
    whole: list[float]
    supervisor: list[float]


def measured(kafka: str, etcd: str, partitions: int, say: Callable[[str], None]) -> Iterator[Cost]:
    with (
        Fleet(kafka, etcd, partitions) as metered,
        Fleet(kafka, etcd, partitions, more=("--http", "none")) as bare,
    ):
        for name, fleet in (("with metrics", metered), ("without", bare)):
            say(f"starting two hosts {name}")
            fleet.start(PATIENCE)
        fleets = {"with metrics": metered, "without": bare}
        yield from _looks(fleets)
        with _scraped(metered, etcd):
            yield from _looks({"with metrics, scraped": metered, "without, the same seconds": bare})


def _looks(fleets: dict[str, Fleet]) -> Iterator[Cost]:
    costs = {(name, host): Cost(name, role, [], []) for name in fleets for host, role in ROLES.items()}
    for _ in range(LOOKS):
        for name, hosts in zip(fleets, idle(list(fleets.values()), LOOK), strict=True):
            for host, used in hosts.items():
                costs[name, host].whole.append(used.owners + used.standbys + used.others)
                costs[name, host].supervisor.append(used.others)
    yield from costs.values()


@contextmanager
def _scraped(fleet: Fleet, etcd: str) -> Iterator[None]:
    store = Etcd(EtcdOptions(parse_endpoints(etcd)))
    try:
        found = [store.get(fleet.keys.host(name)) for name in fleet.hosts]
    finally:
        store.close()
    urls = [f"http://{Host.decode(each.value).address}/metrics" for each in found if each is not None]
    assert len(urls) == len(fleet.hosts)
    over, failed = threading.Event(), list[OSError]()

    def scrape() -> None:
        while not over.is_set():
            for url in urls:
                try:
                    urllib.request.urlopen(url, timeout=10.0).read()
                except OSError as error:
                    failed.append(error)
            over.wait(INTERVAL)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def table(costs: list[Cost], partitions: int, write: Callable[[str], None]) -> None:
    write("| host | | % of a core, median | spread | its supervisor |\n|---|---|---:|---:|---:|")
    for each in sorted(costs, key=lambda each: each.role):
        whole = statistics.median(each.whole)
        spread = f"{min(each.whole):.2f} to {max(each.whole):.2f}"
        own = statistics.median(each.supervisor)
        write(f"| {partitions} {each.role} | {each.system} | {whole:.2f} | {spread} | {own:.2f} |")
