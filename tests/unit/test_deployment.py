"""What is deployed is what there is: manifests, unit, dashboard, rules and runbook name real things."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from partition_supervisor.addresses import is_unspecified, split_address
from partition_supervisor.admin.check.host import IMPORT_PATIENCE
from partition_supervisor.commands.run import run
from partition_supervisor.web.catalogue import GROUP, METRICS, PREFIX
from partition_workers.errors import ExitCode
from partition_workers.log_events import EventName
from tests.documented import PAGES

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
SAMPLES = {name for each in METRICS for name in each.samples}
MANIFESTS = sorted((DOCKER / "kubernetes").rglob("*.yaml"))
#: Seconds after --graceful-timeout in which a supervisor has ended.
LAST_SECONDS = 2.0


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def rules() -> list[dict[str, Any]]:
    (group,) = documents(DOCKER / "grafana/alerts.yaml")[0]["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCKER / "grafana/dashboard.json").read_text(encoding="utf-8"))
    return found


def queries_of_the_dashboard() -> Iterator[tuple[str, str]]:
    """Each with where it stands."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        yield variable["name"], variable["query"]


def queries() -> Iterator[tuple[str, str]]:
    yield from queries_of_the_dashboard()
    for rule in rules():
        yield rule["alert"], rule["expr"]


def scraped() -> dict[str, Any]:
    """How the pages have Prometheus ask."""
    (file,) = re.findall(r"^```yaml\n(scrape_configs:.*?)^```", PAGES["docs/deployment.md"], re.MULTILINE | re.DOTALL)
    (found,) = yaml.safe_load(file)["scrape_configs"]
    assert isinstance(found, dict)
    return found


def deployment() -> dict[str, Any]:
    (found,) = documents(DOCKER / "kubernetes/base/deployment.yaml")
    return found


def container() -> dict[str, Any]:
    (found,) = deployment()["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def environment() -> dict[str, Any]:
    return {each["name"]: each for each in container()["env"]}


# --- metrics


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_metric_in_a_query_is_a_real_one(where: str, query: str) -> None:
    """With labels that it has."""
    for name in re.findall(rf"\b{PREFIX}\w+", query):
        assert name in SAMPLES, f"{where}: {name}"
    for name, matchers in re.findall(rf"\b({PREFIX}\w+){{([^}}]*)}}", query):
        metric = next(each for each in METRICS if name in each.samples)
        labels = set(re.findall(r"(\w+)\s*[=!]~?", matchers))
        assert labels <= {GROUP, *metric.labels, "instance", "le"}, f"{where}: {name}"


def test_the_rules_tell_one_group_from_another() -> None:
    """What is put together is of one group: what one says must not hide, nor make up for, what another says."""
    for rule in rules():
        query = rule["expr"]
        for labels in re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", query):
            assert GROUP in labels.split(", ") or rule["alert"] == "SupervisorsGone", rule["alert"]
        put_together = re.findall(r"\b(?:sum|max|min|count|avg)\b(?! by \()", query)
        assert not put_together or rule["alert"] == "SupervisorsGone", rule["alert"]
        assert f"$labels.{GROUP}" in rule["annotations"]["summary"] or rule["alert"] == "SupervisorDown"


def test_the_dashboard_shows_one_group() -> None:
    (variable,) = (each for each in dashboard()["templating"]["list"] if each["name"] == GROUP)
    assert not variable["multi"]
    assert not variable["includeAll"]
    for where, query in queries_of_the_dashboard():
        if where != GROUP:
            assert len(re.findall(rf"\b{PREFIX}\w+{{{GROUP}=\"\$group\"", query)) == query.count(PREFIX), where


def test_the_rule_for_targets_knows_the_name_of_their_job() -> None:
    """That of the pages, and of the PodMonitor, which has the namespace before its own."""
    (rule,) = (each for each in rules() if each["alert"] == "SupervisorDown")
    (matcher,) = re.findall(r'job=~"([^"]+)"', rule["expr"])
    (monitor,) = documents(DOCKER / "kubernetes/monitoring/pod-monitor.yaml")
    assert re.fullmatch(matcher, scraped()["job_name"])
    assert re.fullmatch(matcher, f"production/{monitor['metadata']['name']}")
    assert not re.fullmatch(matcher, "another-partition-supervisor")


def test_the_dashboard_and_the_rules_leave_no_counter_raw() -> None:
    """A counter alone says when the supervisor began."""
    counters = {name for each in METRICS if each.kind == "counter" for name in each.samples}
    for where, query in queries():
        for name in counters & set(re.findall(rf"\b{PREFIX}\w+", query)):
            assert re.search(rf"(?:rate|increase)\({name}\b", query), f"{where}: {name}"


def test_panels_do_not_lie_on_each_other() -> None:
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for at in (each["gridPos"] for each in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({each["id"] for each in panels}) == len(panels)


# --- the runbook


def entries() -> list[str]:
    return re.findall(r"^### (\S+)$", RUNBOOK, re.MULTILINE)


def test_the_runbook_has_one_entry_for_each_event_and_each_alert() -> None:
    assert sorted(entries()) == sorted([*get_args(EventName), *(rule["alert"] for rule in rules())])


def test_every_event_name_is_said_somewhere() -> None:
    """By a line of the log that has it."""
    said = set()
    for folder in ("supervisor", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "log_events.py":
                nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                said |= {each.value for each in nodes if isinstance(each, ast.Constant)}
    assert set(get_args(EventName)) <= said


def test_every_entry_says_something() -> None:
    for entry in re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:]:
        assert len(entry.split()) > 2, entry


# --- Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.relative_to(DOCKER).as_posix())
def test_manifests_are_lists_of_objects(path: Path) -> None:
    """kustomize finds what it is told of."""
    for each in documents(path):
        assert {"apiVersion", "kind"} <= each.keys()
        for named in (*each.get("resources", ()), *_files(each)) if each["kind"] == "Kustomization" else ():
            assert (path.parent / named).exists(), named


def _files(kustomization: dict[str, Any]) -> Iterator[str]:
    for each in kustomization.get("configMapGenerator", ()):
        for file in each["files"]:
            yield file.rpartition("=")[2]


def test_settings_in_the_manifests_are_options_of_run() -> None:
    options = {name for each in run.params for name in each.opts}
    settings = tomllib.loads((DOCKER / "kubernetes/base/settings.toml").read_text(encoding="utf-8"))
    assert {f"--{name}" for name in settings if name != "handler"} <= options
    named = {name for name in environment() if name.startswith("PARTITION_SUPERVISOR_")}
    assert {f"--{each.removeprefix('PARTITION_SUPERVISOR_').lower().replace('_', '-')}" for each in named} <= options


def test_the_handler_of_the_manifests_is_one() -> None:
    compile((DOCKER / "kubernetes/base/app.py").read_text(encoding="utf-8"), "app.py", "exec")
    assert container()["args"][0] == "run"


def test_probes_ask_for_what_is_served_where_it_is_served() -> None:
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    assert container()["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container()["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert environment()["PARTITION_SUPERVISOR_HTTP"]["value"] == f"0.0.0.0:{ports['http']}"
    assert environment()["PARTITION_SUPERVISOR_LISTEN"]["value"] == f"[$(POD_IP)]:{ports['peers']}"
    (policy,) = documents(DOCKER / "kubernetes/base/network-policy.yaml")
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == set(ports.values())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_pod_listens_whichever_kind_of_address_it_has(address: str) -> None:
    """In a cluster of IPv4, of IPv6, or of both."""
    peers = environment()["PARTITION_SUPERVISOR_LISTEN"]["value"].replace("$(POD_IP)", address)
    assert split_address(peers) == (address, 7400)


def test_a_pod_has_the_time_that_check_allows_for_the_import_of_its_handler() -> None:
    """The port of the probes opens after it."""
    probe = container()["startupProbe"]
    assert probe["httpGet"] == container()["livenessProbe"]["httpGet"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > IMPORT_PATIENCE


def test_the_grace_of_the_pod_is_longer_than_ours() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    graceful = float(environment()["PARTITION_SUPERVISOR_GRACEFUL_TIMEOUT"]["value"])
    assert pod["terminationGracePeriodSeconds"] > graceful + LAST_SECONDS


def test_the_host_id_comes_from_the_downward_api() -> None:
    reference = environment()["PARTITION_SUPERVISOR_HOST_ID"]["valueFrom"]["fieldRef"]
    assert reference == {"fieldPath": "metadata.name"}


def test_selectors_find_the_pods() -> None:
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    assert deployment()["spec"]["selector"]["matchLabels"] == labels
    for name, path in (("disruption-budget", ("selector",)), ("network-policy", ("podSelector",))):
        (found,) = documents(DOCKER / f"kubernetes/base/{name}.yaml")
        assert found["spec"][path[0]]["matchLabels"] == labels


def test_the_autoscaler_alone_says_how_many_there_are() -> None:
    """Or each `kubectl apply` would begin anew with the number of the base."""
    (kustomization,) = documents(DOCKER / "kubernetes/keda/kustomization.yaml")
    (patch,) = kustomization["patches"]
    assert patch["target"] == {"kind": deployment()["kind"], "name": deployment()["metadata"]["name"]}
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
    assert "replicas" in deployment()["spec"]  # what is removed has to be there


def test_the_autoscaler_asks_for_the_group_that_offsets_are_copied_to() -> None:
    settings = tomllib.loads((DOCKER / "kubernetes/base/settings.toml").read_text(encoding="utf-8"))
    (scaled,) = documents(DOCKER / "kubernetes/keda/scaled-object.yaml")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["consumerGroup"] == settings["group"]
    assert [trigger["metadata"]["topic"]] == settings["topic"]
    assert trigger["metadata"]["bootstrapServers"] == settings["bootstrap-servers"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment()["metadata"]["name"]


# --- systemd


def test_no_group_has_the_name_of_the_unit() -> None:
    """systemd makes a user of that name (DynamicUser=), and refuses to where a group has it already: 217/USER."""
    unit = DOCKER / "systemd/partition-supervisor.service"
    text = unit.read_text(encoding="utf-8")
    assert "DynamicUser=yes" in text
    needed = set(re.findall(r"^#?SupplementaryGroups=(.+)$", text, re.MULTILINE))
    pages = "".join(PAGES.values())
    made = set(re.findall(r"\bgroupadd (?:-\S+ )*(\S+)", pages))
    given = set(re.findall(r"\binstall (?:.* )?-g (\S+)", pages))
    assert needed == made == given
    assert unit.stem not in needed


def test_the_unit_gives_the_supervisor_its_time() -> None:
    unit = (DOCKER / "systemd/partition-supervisor.service").read_text(encoding="utf-8")
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    defaults = {each.name: each.default for each in run.params}
    assert float(settings["TimeoutStopSec"]) > float(str(defaults["graceful_timeout"])) + LAST_SECONDS
    surroundings = 2 * float(str(defaults["connect_timeout"])) + float(str(defaults["lease_ttl"])) + LAST_SECONDS
    assert float(settings["TimeoutStartSec"]) > IMPORT_PATIENCE + surroundings
    assert settings["Type"] == "notify-reload"
    assert settings["KillMode"] == "mixed"
    assert settings["RestartPreventExitStatus"].split() == [
        str(int(ExitCode.USAGE)),
        str(int(ExitCode.MISCONFIGURED)),
    ]


def test_the_settings_of_the_first_hour_are_all_that_the_unit_is_given() -> None:
    """A flag of the unit would win over them; and Prometheus asks at their port, not only from their own host."""
    unit = (DOCKER / "systemd/partition-supervisor.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    assert command == "run --config /etc/partition-supervisor/config.toml"
    (file,) = re.findall(r"^```toml\n(.*?)^```", PAGES["docs/first-hour.md"], re.MULTILINE | re.DOTALL)
    settings = tomllib.loads(file)
    options = {name for each in run.params for name in each.opts}
    assert {f"--{name}" for name in settings if name != "handler"} <= options
    host, _, port = settings["http"].rpartition(":")
    assert is_unspecified(host)
    assert {target.rpartition(":")[2] for target in scraped()["static_configs"][0]["targets"]} == {port}
