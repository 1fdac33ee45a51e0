"""Alerts, dashboards and docker-compose.yml are held to what the programs tell and to what is there."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from server_core.telemetry import metrics
from tests.ops.promtool import promtool

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "ops" / "prometheus"
GRAFANA = ROOT / "ops" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
PAGE = (ROOT / "docs" / "observability.md").read_text()
SCRAPED = {"job", "instance", "role"}
"""Labels that Prometheus gives by itself or by prometheus.yml."""

_SERIES = re.compile(r"(?<![\w$])(hundi_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\b(?:by|on|group_left|without)\s*\(([^)]*)\)")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def told() -> dict[str, set[str]]:
    """Every series that a process may tell, with its labels."""
    found: dict[str, set[str]] = {}
    for family in metrics.REGISTRY._collector_to_names:
        labels = set(family._labelnames)
        match family._type:
            case "counter":
                found[f"{family._name}_total"] = labels
            case "histogram":
                found |= {f"{family._name}_{part}": labels for part in ("sum", "count")}
                found[f"{family._name}_bucket"] = labels | {"le"}
            case _:
                found[family._name] = labels
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def unknown(expression: str) -> set[str]:
    """What of an expression no process tells."""
    series, off = told(), set()
    labels = set(SCRAPED)
    for name, matchers in _SERIES.findall(expression):
        if name not in series:
            off.add(name)
            continue
        labels |= series[name]
        off |= set(_LABEL.findall(matchers)) - series[name] - SCRAPED
    for named in _GROUPED.findall(expression):
        off |= {one.strip() for one in named.split(",") if one.strip()} - labels
    return off


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_what_is_asked_for_is_told(where: str, expression: str) -> None:
    assert "hundi" in expression
    assert unknown(expression) == set(), where


@pytest.mark.parametrize(
    ("expression", "off"),
    [
        ("rate(hundi_payments_total[5m])", {"hundi_payments_total"}),
        ("hundi_attempts > 1", {"hundi_attempts"}),
        ('hundi_rail_health{status="open"}', {"status"}),
        ("sum by (rail, bank) (hundi_rail_success_ratio)", {"bank"}),
    ],
)
def test_what_is_not_told_is_found_out(expression: str, off: set[str]) -> None:
    assert unknown(expression) == off


def test_every_alert_is_played_and_says_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) >= 20
    played = (PROMETHEUS / "alerts.test.yml").read_text()
    sections = re.findall(r"^### (Hundi\w+)$", PAGE, re.MULTILINE)
    assert sections == names, "docs/observability.md has a section of each, in their order"
    for rule in alerts():
        assert f'{{alertname="{rule["alert"]}"}}' in played, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        section = f"docs/observability.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == section


def test_prometheus_itself_agrees() -> None:
    """The rules can be read, and each fires when and only when alerts.test.yml says so."""
    tool = promtool()
    if tool is None:
        pytest.skip("no promtool here, and apt cannot bring it")
    for words in (
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts.test.yml"),
    ):
        done = subprocess.run(
            [str(tool), *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_stands_in_the_docs_with_its_labels() -> None:
    rows = re.findall(r"^\| `(hundi_\w+)` \| ([^|]*) \| [^|]+ \|$", PAGE, re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert len(listed) == len(rows)
    histograms = {name.removesuffix("_bucket") for name in told() if name.endswith("_bucket")}
    expected = {
        name: labels
        for name, labels in told().items()
        if not any(
            name == f"{one}_{part}" for one in histograms for part in ("sum", "count", "bucket")
        )
    } | {one: told()[f"{one}_count"] for one in histograms}
    assert listed == expected


def test_dashboards_are_whole() -> None:
    sources = read(GRAFANA / "provisioning" / "datasources" / "hundi.yml")["datasources"]
    uids = {one["uid"] for one in sources}
    assert {path.stem for path in DASHBOARDS} == {"hundi-payments", "hundi-terminals"}
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        assert board["uid"] == path.stem
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        for panel in board["panels"]:
            assert panel["type"] == "row" or panel["datasource"]["uid"] in uids
            assert panel["type"] == "row" or panel["targets"]


def test_compose_mounts_what_is_there_and_scrapes_what_it_runs() -> None:
    compose = read(ROOT / "docker-compose.yml")
    services = compose["services"]
    for name, one in services.items():
        image = one.get("image")
        assert "build" in one or re.search(r":v?\d+(\.\d+)*$", image), f"{name} is not pinned"
        for volume in one.get("volumes", ()):
            source = volume.partition(":")[0]
            there = source in compose["volumes"] or (ROOT / source).exists()
            assert there, f"{name} mounts {source}"
        for port in one.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"
    [scraped] = read(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    targets = {target for one in scraped["static_configs"] for target in one["targets"]}
    port = services["server"]["environment"]["HUNDI_PORT"]
    served = {f"server:{port}"}
    for name, one in services.items():
        command = one.get("command", [])
        if "--metrics-port" in command:
            served.add(f"{name}:{command[command.index('--metrics-port') + 1]}")
    assert targets == served == {"server:8480", "workers:9464", "relay:9464"}
