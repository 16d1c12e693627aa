"""What Debian's Prometheus makes of an app's figures, of the alerts, and of what the dashboard asks for."""

import json
import re
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

DASHBOARD = json.loads((Path(__file__).parents[3] / "docs/monitoring/dashboard.json").read_text(encoding="utf-8"))
ASK = "curl -sk --max-time 20 --connect-to ::127.0.0.1: https://shop.test"
COUNT = "http_server_request_duration_seconds_count"


def eventually(found: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until Prometheus has read it, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(1)
    return value


def api(host: Host, path: str) -> Any:
    answer = json.loads(host.check_output("curl -s %s", f"http://127.0.0.1:9090/api/v1/{path}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def query(host: Host, expression: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api(host, "query?query=" + urllib.parse.quote(expression))["result"]
    return found


def value(host: Host, expression: str) -> float | None:
    found = query(host, expression)
    assert len(found) <= 1, found
    return float(found[0]["value"][1]) if found else None


def asked() -> list[str]:
    """Return all that the dashboard asks Prometheus for."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + [
        annotation["expr"].partition(" unless ")[0] for annotation in DASHBOARD["annotations"]["list"]
    ]


@pytest.fixture(scope="module", autouse=True)
def traffic(host: Host) -> None:
    """Let there be something of everything, before and after Prometheus has looked."""
    for _ in range(3):
        host.check_output(f"{ASK}/boom -o /dev/null && {ASK}/nowhere -o /dev/null && {ASK}/items/[1-20] -o /dev/null")
        time.sleep(3)


def test_config_and_rules_are_valid(host: Host) -> None:
    output = host.check_output(
        "promtool check config /etc/prometheus/prometheus.yml && promtool check rules %s", "/etc/prometheus/alerts.yml"
    )
    assert "9 rules found" in output


def test_each_alert_is_set_off_by_what_it_is_for(host: Host) -> None:
    assert "SUCCESS" in host.check_output("promtool test rules /etc/prometheus/alerts_test.yml")


def test_figures_are_as_prometheus_would_have_them(host: Host) -> None:
    host.check_output("curl -s http://127.0.0.1:9145/metrics/shop | promtool check metrics")


def test_a_count_is_the_sum_over_the_workers(host: Host) -> None:
    route = f'{COUNT}{{app="shop",http_route="/items/{{number}}",http_response_status_code="200"}}'
    before = eventually(lambda: value(host, route))
    host.check_output(f"{ASK}/items/[1-200] -o /dev/null --parallel")
    eventually(lambda: value(host, route) == before + 200)
    pids = eventually(lambda: query(host, 'process_start_time_seconds{app="shop"}'))
    assert len({found["metric"]["pid"] for found in pids}) == 4
    # One series, whichever of the four is asked.
    assert len(query(host, route)) == 1


def test_the_rules_are_loaded_and_all_is_well(host: Host) -> None:
    eventually(lambda: value(host, 'up{job="paddock",app="shop"}') == 1)
    eventually(lambda: value(host, "nginx_up") == 1)
    rules = [rule for group in api(host, "rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    quiet = {"AppDown", "EventLoopBlocked", "FileDescriptorsRunOut", "ReleasesDiffer", "NginxDown"}
    assert {rule["name"] for rule in rules if rule["state"] == "inactive"} >= quiet


@pytest.mark.parametrize("expression", asked())
def test_the_dashboard_has_something_to_show(host: Host, expression: str) -> None:
    for name, instead in (("$__rate_interval", "1m"), ("$app", "shop"), ("$instance", ".*")):
        expression = expression.replace(name, instead)
    assert "$" not in expression
    found = eventually(lambda: query(host, expression))
    assert all(re.fullmatch(r"[0-9.e+-]+|NaN", result["value"][1]) for result in found)
    assert any(result["value"][1] != "NaN" for result in found)


def test_only_the_host_may_ask(host: Host) -> None:
    address = host.check_output("hostname -I").split()[0]
    assert host.run("curl -s --max-time 5 http://%s:9145/metrics/shop", address).rc == 7
    assert host.check_output("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9145/metrics/own") == "404"
    assert "Active connections" in host.check_output("curl -s http://127.0.0.1:9145/nginx")
