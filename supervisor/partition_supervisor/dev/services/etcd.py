"""An etcd cluster of local processes, from whatever binary there is."""

from __future__ import annotations

import os
import re
import subprocess
from functools import partial
from pathlib import Path

from partition_supervisor.dev.services.part import Part, etcd_answers
from partition_supervisor.dev.services.processes import Processes, with_free_ports
from partition_workers.errors import PartitionSupervisorError


def start_members(processes: Processes, binary: Path, members: int, origin: str) -> Part:
    """Start all members at once and wait until each of them answers."""
    # etcd takes every flag from the environment too, and refuses to start when both are given.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
    names = [f"etcd-{number}" for number in range(1, members + 1)]

    def attempt(ports: list[int]) -> dict[str, str]:
        endpoints = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports[:members], strict=True)}
        peers = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports[members:], strict=True)}
        try:
            for name in names:
                client = f"http://{endpoints[name]}"
                data = processes.folder / f"{name}-{endpoints[name].rpartition(':')[2]}"
                listening = (
                    f"--listen-client-urls={client}",
                    f"--listen-peer-urls={peers[name]}",
                    f"--data-dir={data}",
                )
                processes.start(name, [str(binary), *listening, *flags(name, client, peers)], environment)
            for name in names:
                processes.wait_for(name, partial(etcd_answers, endpoints[name]))
        except PartitionSupervisorError:
            processes.end(*names)
            raise
        return endpoints

    endpoints = with_free_ports(2 * members, attempt, first=processes.ports.get("etcd", ())[:members])
    return Part(
        addresses=",".join(endpoints.values()),
        description=f"etcd {version(binary)} x {members} ({origin})",
        answers={name: partial(etcd_answers, endpoint) for name, endpoint in endpoints.items()},
    )


def flags(name: str, client: str, peers: dict[str, str]) -> list[str]:
    return [
        f"--name={name}",
        f"--advertise-client-urls={client}",
        f"--initial-advertise-peer-urls={peers[name]}",
        f"--initial-cluster={','.join(f'{peer}={url}' for peer, url in peers.items())}",
        "--initial-cluster-state=new",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
        "--log-level=warn",
    ]


def version(binary: Path) -> str:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"etcd Version: (\S+)", told)
    return found.group(1) if found else "unknown"


def is_new_enough(version: str) -> bool:
    """Older ones lose watch events or locks in ways this program cannot repair."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    return numbers >= [3, 6, 9] or [3, 5, 28] <= numbers < [3, 6]
