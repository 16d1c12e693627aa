"""The documentation says what is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import LIMITS, TIMEOUTS, resolve, size
from ansible_collections.paddock.fastapi.tests.unit.helpers import an_app

ROOT = Path(__file__).parents[2]
SIZING = (ROOT / "docs/sizing.md").read_text(encoding="utf-8")


def test_tables_of_options_are_what_options_are_checked_with() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests/docs/options.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_limit_and_timeout_is_in_the_tables_of_sizing() -> None:
    rows = "\n".join(line for line in SIZING.splitlines() if line.startswith("| "))
    names = {f"limits.{name}" for name in LIMITS} | {f"timeouts.{name}" for name in TIMEOUTS}
    # limits.d is a folder of the host.
    assert names == set(re.findall(r"`((?:limits|timeouts)\.\w\w+)`", rows))


def test_sizing_tells_the_defaults_as_they_are() -> None:
    host = {"nofile_ceiling": 2**20, "nofile_ceiling_from": "fs.nr_open", "memory_mb": 4096, "cpus": 1}
    app = size(resolve([an_app()])[0], host)
    chain, limits = app["timeouts"], app["limits"]
    told_less = chain["client_idle"] - chain["client_told"]
    for row in (
        f"| `timeouts.client_idle` | {chain['client_idle']}; clients are told {told_less} less |",
        f"| `timeouts.keepalive` | {chain['keepalive']} |",
        f"| `timeouts.stall` | {chain['stall']}, or twice",
        f"| time to connect | {chain['connect']} |",
        f"| idle connections to the app | {chain['upstream_idle']}, and",
        f"| `limits.nofile` | {limits['nofile']}, or",
        f"| `limits.tasks_max` | 256 for each worker, at least {limits['tasks_max']};",
        f"`workers` | one per CPU, at least {app['workers']},",
    ):
        assert row in SIZING


def examples() -> list[object]:
    """Return all examples of apps on the pages, by where they begin."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
    found: list[object] = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"(?ms)^```yaml\n(.*?)^```$", text):
            # Nobody wants to read a whole one.
            read = yaml.safe_load(block[1].replace("$6$…", "$6$salt$" + 86 * "x"))
            if isinstance(read, dict) and "fastapi_apps" in read:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(read["fastapi_apps"], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def test_there_are_examples() -> None:
    assert len(examples()) >= 6


@pytest.mark.parametrize("apps", examples())
def test_an_example_is_a_valid_list_of_apps(apps: list[object]) -> None:
    assert resolve(apps)
