# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on this host at this moment, read and asked, never changed. Standard library only."""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import os
import re
import time
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils import _audit, _nginx
from ansible_collections.paddock.fastapi.plugins.module_utils._certificate import inspect
from ansible_collections.paddock.fastapi.plugins.module_utils._host import app_states
from ansible_collections.paddock.fastapi.plugins.module_utils._instance import units_of
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, created, rollback_targets
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import LEASE
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import Expectation, Target, ask
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import UNITS, nofile_of, show

PROC = Path("/proc")
NGINX_FOLDER = Path("/etc/nginx")
MIB = 2**20
# NGINX may keep a connection to what was live for two seconds (keepalive_time), and uses it meanwhile.
KEPT_SECONDS = 2.5
# As many of the last events are told.
HISTORY = 10
PROPERTIES = (
    *("ActiveState", "UnitFileState", "NeedDaemonReload", "DropInPaths"),
    *("MainPID", "MemoryCurrent", "NRestarts", "NextElapseUSecMonotonic"),
    *("TasksMax", "MemoryHigh", "MemoryMax", "CPUQuotaPerSecUSec"),
)
# systemd.time(7), as systemctl prints time spans.
SPANS = {
    "y": 31557600.0,
    "month": 2629800.0,
    "w": 604800.0,
    "d": 86400.0,
    "h": 3600.0,
    "min": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
}

Units = Mapping[str, Mapping[str, str]]
Settings = Mapping[str, t.Any]


def look(apps: Sequence[Settings], http_port: int, https_port: int) -> dict[str, t.Any]:
    """Tell how NGINX and the apps are: those of the inventory, and those that are ours but no longer in it.

    apps: settings, as the filter app_settings returns them.
    """
    configured = {app["name"]: app for app in apps}
    names = [*configured, *left_over(configured)]
    states = app_states(names)
    live = [App.of(name).service_unit(state["live"]) for name, state in states.items() if state["live"]]
    sockets = [App.of(name).socket_unit(state["live"]) for name, state in states.items() if state["live"]]
    timers = [f"{name}-retire-*.timer" for name in names]
    stopping = [f"{name}@*.service" for name in names]
    units = show(["nginx.service", *stopping, *timers, *live, *sockets], *PROPERTIES)
    return {
        "nginx": _look_at_nginx(units, list(configured)),
        "apps": [
            _look_at_app(App.of(name), states[name], units, configured.get(name), http_port, https_port)
            for name in names
        ],
    }


def left_over(known: Collection[str]) -> list[str]:
    """Return the apps of ours on this host that are not known: units that a role wrote, and a folder of releases."""
    found = []
    for path in UNITS.glob("*@.service"):
        name = path.name.removesuffix("@.service")
        if name not in known and "(paddock.fastapi, role service)" in _read(path) and App.of(name).releases.is_dir():
            found.append(name)
    return sorted(found)


def _look_at_app(
    app: App, state: Mapping[str, t.Any], units: Units, settings: Settings | None, http_port: int, https_port: int
) -> dict[str, t.Any]:
    live = state["live"]
    service = units.get(app.service_unit(live), {}) if live else {}
    socket = units.get(app.socket_unit(live), {}) if live else {}
    main = int(service.get("MainPID") or 0)
    tree = descendants(main) if main else {}
    used = memory(service.get("MemoryCurrent", ""), tree) if main else None
    left = _seconds_left(app, units)
    stopping = {unit for unit, entry in units.items() if entry.get("ActiveState") == "deactivating"}
    lock = state["lock"]
    events = _audit.events(app)
    return {
        "app": app.name,
        "configured": settings is not None,
        "live": _live(app, live, events) if live else None,
        "running": state["running"],
        "enabled": state["enabled"],
        "workers": {
            "running": running_workers(main, tree, single=made_for(app, live) == (1, "uvicorn")) if live else 0,
            "release": made_for(app, live)[0] if live else None,
        },
        "limits": limits(main, tree, service, used),
        "memory": used,
        "restarts": int(service["NRestarts"]) if service.get("NRestarts", "").isdigit() else None,
        "health": _health(settings, live, http_port, https_port) if settings and live else None,
        "certificate": _certificate(settings) if settings else None,
        "standby": [
            {"release": release, "retires_in_seconds": left.get(release)}
            for release in state["warm"]
            if release not in state["stale"]
        ],
        "rollback": rollback_targets(state),
        "bad": [{"release": release, "reason": reason} for release, reason in sorted(state["bad"].items())],
        "releases": state["releases"],
        "unfinished": app.unfinished(),
        "stale": [release for release in state["stale"] if app.service_unit(release) not in stopping],
        "rollout": lock
        and {
            **{name: lock.get(name) for name in ("by", "control", "pid", "since")},
            "silent_seconds": round(lock["silent"]),
            "dead": lock["silent"] > LEASE,
        },
        "last_event": events[-1] if events else None,
        "history": events[: -HISTORY - 1 : -1],
        "units": {
            "differ": differing_units(app, live) if live else [],
            "overridden": sorted(
                path
                for path in {*service.get("DropInPaths", "").split(), *socket.get("DropInPaths", "").split()}
                if Path(path).parent.name.startswith(f"{app.name}@") and not _is_ours(app, live, path)
            ),
            "reload_needed": "yes" in {service.get("NeedDaemonReload"), socket.get("NeedDaemonReload")},
        },
    }


# -- the live release -----------------------------------------------------------------------------------------------


def _live(app: App, release: str, events: Iterable[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Say what the live release is made of, who made it live, and since when it is."""
    record: dict[str, t.Any] = {}
    with contextlib.suppress(OSError, ValueError):
        record = app.metadata(release)
    now = time.time()
    switch = went_live(events, release)
    proven, _bad = app.marks()
    since = _seconds(switch["time"]) if switch else proven.get(release)
    built_by = record.get("by", "")
    return {
        "release": release,
        "complete": bool(record),
        "source": record.get("source", ""),
        "fingerprint": record.get("fingerprint"),
        "built_by": built_by,
        "age_seconds": max(0, round(now - created(release))),
        "by": (switch.get("by") if switch else "") or built_by,
        "live_seconds": None if since is None else max(0, round(now - since)),
    }


def went_live(events: Iterable[Mapping[str, t.Any]], release: str) -> Mapping[str, t.Any] | None:
    """Find the last event by which a release became live."""
    found = [entry for entry in events if entry.get("release") == release]
    return next((entry for entry in reversed(found) if entry.get("event") in {"switched", "rolled back"}), None)


def _seconds(moment: str) -> float:
    return float(calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")))


def made_for(app: App, release: str) -> tuple[int | None, str]:
    """Return how many workers a release was made to run, and in which server, as its own files say."""
    folder = app.release(release)
    if found := re.search(r"\buvicorn .*?--workers (\d+)", _read(folder / "run"), re.DOTALL):
        return int(found.group(1)), "uvicorn"
    found = re.search(r"^workers = (\d+)$", _read(folder / "gunicorn.conf.py"), re.MULTILINE)
    return int(found.group(1)) if found else None, "gunicorn"


def _is_ours(app: App, release: str, path: str) -> bool:
    return path in {str(UNITS / f"{app.name}{suffix}") for suffix in units_of(app, release)}


def differing_units(app: App, release: str) -> list[str]:
    """Return the units that are not as the release brought them."""
    units = {UNITS / f"{app.name}{suffix}": text for suffix, text in sorted(units_of(app, release).items())}
    return [str(unit) for unit, text in units.items() if _read(unit) != text]


# -- its processes --------------------------------------------------------------------------------------------------


def descendants(main: int) -> dict[int, int]:
    """Return a process and all that it started, each with its parent."""
    parents: dict[int, int] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        # The name, in parentheses, may hold anything.
        fields = _read(stat).rpartition(")")[2].split()
        if len(fields) > 1:
            parents[int(stat.parent.name)] = int(fields[1])
    found = {main: parents[main]} if main in parents else {}
    while more := {pid: parent for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found


def running_workers(main: int, tree: Mapping[int, int], *, single: bool) -> int:
    """Count workers: the children of the server, or the server itself where it needs none (single)."""
    if single:
        return int(main in tree)
    children = [pid for pid, parent in tree.items() if parent == main]
    # Uvicorn's children have Python's own tracker of resources beside them.
    return sum("multiprocessing.resource_tracker" not in _read(PROC / str(pid) / "cmdline") for pid in children)


def limits(
    main: int, tree: Iterable[int], service: Mapping[str, str], memory_used: Mapping[str, t.Any] | None
) -> dict[str, dict[str, int | None]]:
    """Return what the instance really has of each limit, in the units of the option `limits`, and how much it uses.

    nofile is of a process, so it is the one with the most open files that counts; the others are of all together.
    """
    quota = span(service.get("CPUQuotaPerSecUSec", ""))
    mib = memory_used["mib"] if memory_used else None
    used = {
        "nofile": max((_entries(PROC / str(pid) / "fd") for pid in tree), default=None),
        "tasks_max": sum(_entries(PROC / str(pid) / "task") for pid in tree) if main else None,
        "memory_high": mib,
        "memory_max": mib,
        "cpu_quota": None,
    }
    running = {
        "nofile": nofile_of(main, PROC),
        "tasks_max": _number(service.get("TasksMax", "")),
        "memory_high": _number(service.get("MemoryHigh", ""), MIB),
        "memory_max": _number(service.get("MemoryMax", ""), MIB),
        "cpu_quota": round(100 * quota) or None,
    }
    return {name: {"running": limit, "used": used[name]} for name, limit in running.items()}


def _entries(folder: Path) -> int:
    # A process may end while it is looked at.
    with contextlib.suppress(OSError):
        return len(os.listdir(folder))  # noqa: PTH208 - thousands of them, and only their number counts
    return 0


def _number(text: str, unit: int = 1) -> int | None:
    """Read a limit of systemd's, which is a word where there is none."""
    return int(text) // unit if text.isdigit() else None


def memory(current: str, tree: Iterable[int]) -> dict[str, t.Any] | None:
    """Return the MiB that an instance uses, and how that was found.

    current: systemd's MemoryCurrent. Without cgroup accounting it is a word, or the largest number that there is.
    """
    if current.isdigit() and int(current) < 2**63:
        return {"mib": round(int(current) / MIB), "from": "cgroup"}
    for file, field, source in (("smaps_rollup", "Pss", "pss"), ("status", "VmRSS", "rss")):
        texts = [_read(PROC / str(pid) / file) for pid in tree]
        found = [re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE) for text in texts]
        if any(found):
            return {"mib": round(sum(int(match.group(1)) for match in found if match) / 1024), "from": source}
    return None


# -- what the public gets -------------------------------------------------------------------------------------------


def _health(settings: Settings, live: str, http_port: int, https_port: int) -> dict[str, t.Any]:
    """Ask once, as the role health does, and want the live release to answer."""
    tls = settings["tls"]["mode"] != "off"
    target = Target(
        settings["domains"][0],
        port=https_port if tls else http_port,
        tls=tls,
        certificate=settings["tls"].get("certificate_path"),
    )
    expected = Expectation.of(settings["health"], live, public=True)
    answer = ask(target, expected, expected.patience)
    if answer.release not in {None, live}:
        time.sleep(KEPT_SECONDS)
        answer = ask(target, expected, expected.patience)
    return {
        "ok": not answer.problem,
        "url": f"{target}{expected.path}",
        "status": answer.status,
        "release": answer.release,
        "seconds": round(answer.seconds, 4),
        "problem": answer.problem,
    }


def _certificate(settings: Settings) -> dict[str, t.Any]:
    """Return the certificate's mode and how many whole days are left."""
    path = settings["tls"].get("certificate_path")
    found = {"mode": settings["tls"]["mode"], "path": path, "expires": None, "days_left": None, "problem": ""}
    if not path:
        return found
    if not Path(path).is_file():
        return {**found, "problem": f"there is no {path}"}
    certificate = None
    with contextlib.suppress(OSError):
        certificate = inspect(Path(path).read_text(encoding="utf-8", errors="replace"))
    if not certificate:
        return {**found, "problem": f"{path} cannot be read as a certificate"}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(certificate.last))
    return {**found, "expires": moment, "days_left": int(certificate.seconds_left() // 86400)}


def _look_at_nginx(units: Units, apps: Iterable[str]) -> dict[str, t.Any]:
    unit = units.get("nginx.service", {})
    installed = Path(_nginx.NGINX).exists()
    files = [NGINX_FOLDER / "nginx.conf", *(NGINX_FOLDER / f"conf.d/{name}.conf" for name in apps)]
    files += sorted((NGINX_FOLDER / "paddock/pages").glob("*"))
    return {
        "installed": installed,
        "active": unit.get("ActiveState") == "active",
        "enabled": unit.get("UnitFileState") == "enabled",
        # Written by a run that was killed before NGINX loaded it.
        "unloaded": _nginx.UNLOADED.exists(),
        "problem": _nginx.check() if installed else "",
        "files": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()},
    }


# -- what will stop by itself ---------------------------------------------------------------------------------------


def _seconds_left(app: App, units: Units) -> dict[str, int]:
    """Return in how many seconds systemd stops each standby instance."""
    prefix = f"{app.name}-retire-"
    timers = {
        unit.removeprefix(prefix).removesuffix(".timer"): entry.get("NextElapseUSecMonotonic", "")
        for unit, entry in units.items()
        if unit.startswith(prefix) and unit.endswith(".timer") and entry.get("ActiveState") == "active"
    }
    now = time.monotonic()
    return {release: max(0, round(span(text) - now)) for release, text in timers.items()}


def span(text: str) -> float:
    """Read a time span as systemctl prints it, such as `2h 5min 1.5s`. Returns seconds."""
    found = re.findall(r"([\d.]+)(y|month|w|d|h|min|ms|us|s)(?![a-z])", text)
    return sum(float(number) * SPANS[unit] for number, unit in found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
