"""Prometheus' rules and Grafana's dashboards in deploy/ are valid, and use only metrics that exist."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from benchmarks import drift
from service.app import create_app
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect
from tests.server import ROOT, free_port, get, post, running, serving

PROMETHEUS = ROOT / "deploy/prometheus"
RULES = sorted(PROMETHEUS.glob("*.rules.yml"))
ATTENTION_RULES = PROMETHEUS / "attention.rules.yml"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "deploy/grafana").iterdir())}
DOC = (ROOT / "docs/monitoring.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
#: The attention of all replicas.
MASS = "sum by (timestep) (attention_mass_total)"
#: Series that Prometheus itself provides.
BUILT_IN = {"up", "ALERTS"}
#: Values for the dashboards' variables, which Grafana substitutes before a query.
VARIABLES = {"model": "m", "version": "1", "window": "10m", "job": "j", "instance": "i", "__rate_interval": "1m"}


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output; fail if it fails."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    outcome = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def rules() -> list[dict[str, Any]]:
    """Return all rules of all groups of all files."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def dashboard_expressions() -> list[str]:
    """Return the dashboards' queries, with their variables filled in."""
    return [filled(part["expr"], VARIABLES) for part in every(DASHBOARDS) if "expr" in part]


def filled(query: str, variables: Mapping[str, str]) -> str:
    """Return a query with its variables replaced by their values, as Grafana does."""
    return re.sub(r"\$([a-z_]\w+)", lambda found: variables[found[1]], query)


def documented_expressions() -> list[str]:
    """Return the examples of docs/monitoring.md, which empty lines separate."""
    blocks = re.findall(r"^```promql\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    return [example for block in blocks for example in block.strip().split("\n\n")]


def every(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON document."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from every(inner)


def names(expression: str) -> set[str]:
    """Return the metrics in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*+(?!\s*\()", bare)) - {"and", "or", "unless", "bool"}


async def scrapes(artifacts: Path) -> tuple[dict[str, float], dict[str, float], list[list[float]]]:
    """Return before-lstm's metrics by series before and after a request, and the attention in its answer."""
    app = create_app(Settings(artifacts=artifacts, model="before-lstm", engine="onnx"))
    sequences = np.random.default_rng(0).standard_normal((2, 200, 20, 2)).tolist()
    async with app.router.lifespan_context(app), connect(app) as client:
        (await client.post("/predict", json={"sequences": sequences[0]})).raise_for_status()
        before = samples((await client.get("/metrics")).text)
        answer = (await client.post("/predict", json={"sequences": sequences[1]})).json()
        after = samples((await client.get("/metrics")).text)
    return before, after, [one["attention"] for one in answer["predictions"]]


def samples(text: str) -> dict[str, float]:
    """Return the value of each series in an answer of /metrics."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, value in lines}


def test_names_are_found() -> None:
    """`names` finds all metrics, and no other part of an expression."""
    expression = (
        'sum by (a) (rate(x_total{b="y"}[5m])) / on (a) group_left () (level:z:sum > bool 1e3) and 2 * pi() * w'
    )
    assert names(expression) == {"x_total", "level:z:sum", "w"}


def test_the_rules_are_valid() -> None:
    """The rules are valid for promtool."""
    found = re.findall(r"(\d+) rules found", promtool("check", "rules", *RULES))
    assert len(found) == len(RULES) == 2
    assert sum(map(int, found)) == len(rules())


@pytest.mark.parametrize("path", sorted(PROMETHEUS.glob("*.rules.test.yml")), ids=lambda path: path.name)
def test_the_rules_pass_their_own_tests(path: Path) -> None:
    """The tests beside the rules pass, and each alert has a case that fires."""
    promtool("test", "rules", path)
    cases = [case for test in yaml.safe_load(path.read_text())["tests"] for case in test.get("alert_rule_test", ())]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    file = yaml.safe_load((path.parent / path.name.replace(".test", "")).read_text())
    assert fired == {rule["alert"] for group in file["groups"] for rule in group["rules"] if "alert" in rule}


def test_every_alert_is_described() -> None:
    """Every alert has a severity, a summary, a description, and a section in the runbook."""
    described = re.findall(r"^### (Attention\w+)$", OPERATIONS, re.MULTILINE)
    assert sorted(described) == sorted(rule["alert"] for rule in alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert all(rule["annotations"][part] for part in ("summary", "description"))


def test_the_scrape_configuration_is_valid_and_finds_the_rules() -> None:
    """The scrape configuration uses the job name of the rules."""
    configuration = PROMETHEUS / "prometheus.yml"
    assert f"{len(RULES)} rule files found" in promtool("check", "config", configuration)
    jobs = {job["job_name"] for job in yaml.safe_load(configuration.read_text())["scrape_configs"]}
    for path in RULES:
        assert set(re.findall(r'job="([^"]*)"', path.read_text())) == jobs


@pytest.mark.anyio
async def test_the_rules_find_the_distance_in_the_exported_metrics(artifacts: Path, tmp_path: Path) -> None:
    """From two scrapes, the rules record the distance between the answered attention and the card's profile."""
    card = Artifact(artifacts / "before-lstm/1").read().card()
    assert card.attention is not None
    before, after, attention = await scrapes(artifacts)
    expected = np.abs(np.mean(attention, axis=0) - card.attention.mean).sum() / 2
    counted = 1 / len(attention) + 1 / card.attention.sequences
    by_chance = np.sqrt(2 / np.pi * counted) * sum(card.attention.spread) / 2
    assert expected > 2 * by_chance
    query = 'abs(model_version:attention_{}:distance{{model="before-lstm",window="10m"}} - {}) < bool 0.00001'
    found = [{"labels": '{model="before-lstm",version="1",window="10m"}', "value": 1}]
    checks = [
        {"expr": query.format(name, value), "eval_time": "10m", "exp_samples": found}
        for name, value in {"total_variation": expected, "by_chance": by_chance}.items()
    ]
    test = {
        "rule_files": [str(ATTENTION_RULES)],
        "evaluation_interval": "30s",
        "group_eval_order": [group["name"] for group in yaml.safe_load(ATTENTION_RULES.read_text())["groups"]],
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": series, "values": f"{before[series]!r}x4 {after[series]!r}x40"}
                    for series in before.keys() & after.keys()
                ],
                "promql_expr_test": checks,
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", path)


@pytest.mark.anyio
async def test_every_metric_that_is_named_is_exported(artifacts: Path) -> None:
    """Rules, dashboards and docs/monitoring.md use only metrics that the service exports or the rules record."""
    app = create_app(Settings(artifacts=artifacts, model="before-lstm", engine="onnx"))
    async with app.router.lifespan_context(app), connect(app) as client:
        text = (await client.get("/metrics")).text
    exported = {name for found in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE) for name in series_of(*found)}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    queries = [
        variable["query"]["query"]
        for dashboard in DASHBOARDS.values()
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    listed = {found[1] for query in queries if (found := re.match(r"label_values\((\w+)", query))}
    assert len(listed) == 3
    expressions = [rule["expr"] for rule in rules()] + dashboard_expressions() + documented_expressions()
    named = set().union(*map(names, expressions), listed)
    assert named - exported - recorded - BUILT_IN == set()
    attention = {name for name in exported if re.match("attention_(?!service_)", name)}
    assert attention <= set(re.findall(r"\w+", (ROOT / "docs/metrics.md").read_text()))


def series_of(family: str, kind: str) -> list[str]:
    """Return the names of the series of a family of metrics."""
    return [family + suffix for suffix in ("_bucket", "_sum", "_count")] if kind == "histogram" else [family]


@pytest.mark.parametrize("source", [dashboard_expressions, documented_expressions])
def test_every_expression_parses(source: Any, tmp_path: Path) -> None:
    """The dashboards' queries and the examples of docs/monitoring.md are valid PromQL."""
    expressions = source()
    assert len(expressions) > 3
    path = tmp_path / "rules.yml"
    records = [{"record": f"r{index}", "expr": expression} for index, expression in enumerate(expressions)]
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": records}]}))
    assert f"{len(expressions)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboard_asks_the_data_source_that_is_chosen(name: str) -> None:
    """No query has a fixed data source."""
    dashboard = DASHBOARDS[name]
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    sources = [part["datasource"]["uid"] for part in every(dashboard) if "datasource" in part]
    assert set(sources) == {"${datasource}", "-- Grafana --"}
    assert all(part["datasource"]["uid"] == "${datasource}" for part in every(dashboard) if "expr" in part)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_its_place_and_description(name: str) -> None:
    """Panels do not overlap; each has its own id, title, description and unit."""
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    cells = [cell for panel in panels for cell in covered(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["description"]
        assert any("unit" in part or part.get("id") == "unit" for part in every(panel))


@contextmanager
def prometheus(urls: Sequence[str], folder: Path) -> Iterator[str]:
    """Run Prometheus until the block ends, with the configuration in deploy/ but much shorter intervals.

    It scrapes the services at some addresses. Yield its own.
    """
    for path in RULES:
        (folder / path.name).write_text(re.sub(r"interval: \d+[sm]", "interval: 1s", path.read_text()))
    configuration = re.sub(r"interval: \d+s", "interval: 1s", (PROMETHEUS / "prometheus.yml").read_text())
    targets = '", "'.join(url.removeprefix("http://") for url in urls)
    (folder / "prometheus.yml").write_text(configuration.replace("127.0.0.1:8000", targets))
    program = shutil.which("prometheus")
    assert program, "prometheus is missing: apt-get install prometheus"
    address = f"127.0.0.1:{free_port()}"
    storage = f"--storage.tsdb.path={folder / 'data'}"
    with running([program, "--config.file=prometheus.yml", storage, f"--web.listen-address={address}"], folder):
        yield f"http://{address}"


def test_every_panel_has_data(artifacts: Path, tmp_path: Path) -> None:
    """Each query of the panels returns data from a Prometheus that scrapes a service with traffic."""
    models = tmp_path / "models"
    shutil.copytree(artifacts / "after-lstm/1", models / "after-lstm/1")
    shutil.copytree(artifacts / "after-lstm/1", models / "after-lstm/2")
    (models / "after-lstm/2/saved_model.pb").write_bytes(b"damaged")
    variables = VARIABLES | {"model": "after-lstm", "job": "attention-service", "instance": ".*"}
    panels = [panel for dashboard in DASHBOARDS.values() for panel in dashboard["panels"]]
    missing = {filled(part["expr"], variables) for part in every(panels) if "expr" in part}
    deadline = time.monotonic() + 60
    with serving("--artifacts", str(models)) as (url, _), prometheus([url], tmp_path) as address:
        example = get(f"{url}/model/example").json()
        while missing and time.monotonic() < deadline:
            post(f"{url}/predict", json=example).raise_for_status()
            assert post(f"{url}/predict", json={}).status_code == 422
            with suppress(httpx.TransportError):  # Prometheus may not listen yet
                missing = {query for query in missing if not result(address, query)}
    assert missing == set()


def result(address: str, query: str) -> Any:
    """Return the result of a query."""
    answer = get(f"{address}/api/v1/query", params={"query": query})
    return answer.json()["data"]["result"] if answer.status_code == 200 else []


def test_two_replicas_add_up(artifacts: Path, tmp_path: Path) -> None:
    """The sums of their requests and of their attention are what the clients of both have counted."""
    arguments = ("--artifacts", str(artifacts), "--model", "after-lstm")
    with (
        serving(*arguments) as (first, _),
        serving(*arguments) as (second, _),
        prometheus([first, second], tmp_path) as address,
    ):
        sequences = get(f"{first}/model/example").json()["sequences"]
        attention = []
        for number, url in enumerate([first, first, second]):
            answer = post(f"{url}/predict", json={"sequences": sequences[number:]})
            attention += [one["attention"] for one in answer.json()["predictions"]]
        requests = 'sum(attention_service_requests_total{route="/predict", status="200"})'
        wait_for_value(address, requests, 3)
        wait_for_value(address, "sum(attention_sequences_total)", len(attention))
        mass = {int(one["metric"]["timestep"]): one["value"][1] for one in result(address, MASS)}
    found = [float(mass[timestep]) for timestep in range(len(mass))]
    np.testing.assert_allclose(found, np.sum(attention, axis=0), atol=1e-4)


def wait_for_value(address: str, query: str, value: float) -> None:
    """Return once the result of a query is a value; fail if that takes too long."""
    deadline, found = time.monotonic() + 60, None
    while found != [value]:
        assert time.monotonic() < deadline, f"{query}: expected {value}, got {found}"
        with suppress(httpx.TransportError):  # Prometheus may not listen yet
            found = [float(one["value"][1]) for one in result(address, query)]


def test_dashboards_have_different_names() -> None:
    """Grafana can hold both."""
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS) == 2


def test_alerts_name_panels_that_exist() -> None:
    """A panel that a description or the runbook names is in a dashboard."""
    texts = [*(rule["annotations"]["description"] for rule in alerts()), " ".join(OPERATIONS.split())]
    named = {name for text in texts for name in re.findall(r"panel \*{0,2}([A-Z][\w ]*?)(?:\*\*| says|,|:|\.)", text)}
    assert len(named) > 3
    assert named <= {panel["title"] for dashboard in DASHBOARDS.values() for panel in dashboard["panels"]}


def covered(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Yield the cells of the dashboard's grid that a panel covers."""
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def test_the_dashboard_offers_the_windows_that_the_rules_record() -> None:
    """The dashboard's windows are exactly those of the rules."""
    variables = DASHBOARDS["attention"]["templating"]["list"]
    offered = next(one["query"] for one in variables if one["name"] == "window")
    recorded = {rule["labels"]["window"] for rule in rules() if "window" in rule.get("labels", {})}
    assert set(offered.split(",")) == recorded


def test_the_doc_explains_the_numbers_of_the_rules() -> None:
    """Rules, docs/monitoring.md and benchmarks.drift have the same factor, floor, minimum and duration."""
    documented = re.search(
        r"more than (\S+) × by chance \+ (\S+), of at least (\d+) sequences, for (\d+) minutes", " ".join(DOC.split())
    )
    assert documented is not None
    alert = next(rule for rule in rules() if rule.get("alert") == "AttentionMoved")
    threshold = next(rule for rule in rules() if rule.get("record") == "model_version:attention_threshold:distance")
    assert threshold["expr"] == f"{documented[1]} * model_version:attention_by_chance:distance + {documented[2]}"
    assert alert["expr"].endswith(f">= {documented[3]}\n")
    assert alert["for"] == f"{documented[4]}m"
    assert tuple(float(documented[index]) for index in (1, 2, 3)) == (drift.FACTOR, drift.FLOOR, drift.ENOUGH)
