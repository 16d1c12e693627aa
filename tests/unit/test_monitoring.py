"""Alerts, dashboard and page speak of the figures that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "docs/monitoring"
PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
# As Debian's exporter names them, and Prometheus itself.
OTHERS = {
    "nginx_connections_accepted",
    "nginx_connections_active",
    "nginx_connections_handled",
    "nginx_connections_waiting",
    "nginx_connections_writing",
    "nginx_http_requests_total",
    "nginx_up",
    "up",
}
WORDS = set("sum by rate count max avg topk time histogram_quantile unless offset".split())


def ours() -> set[str]:
    """Return the names of the figures that an instance tells."""
    code = (ROOT / "roles/service/files/metrics.py").read_text(encoding="utf-8")
    return set(re.findall(r'(?:gauge|Gauge|Histogram)\(\s*"(\w+)"', code))


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    board = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return asked + [each["expr"] for each in board["annotations"]["list"]] + [rule["expr"] for rule in rules()]


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_for_is_told(expression: str) -> None:
    bare = re.sub(r'"[^"]*"|\[[^]]*\]|\b(?:by|on) \([^)]*\)|\b(\w+)\s*(?:=~|!=|=(?!=))', "", expression)
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\b[a-z]\w+\b", bare)} - WORDS
    assert names
    assert names <= ours() | OTHERS


def test_the_page_tells_all_figures_and_alerts() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert {name for name in ours() if f"`{name}`" in rows} == ours()
    assert {rule["alert"] for rule in rules() if f"`{rule['alert']}`" in rows} == {rule["alert"] for rule in rules()}
