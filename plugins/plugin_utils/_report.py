# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what was found on the hosts, and write it for people. Pure: what is found comes in, text goes out."""

from __future__ import annotations

import datetime
import hashlib
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

# The schema's version: it grows when a key changes its meaning or goes, not when one is added.
VERSION = 1
LEVELS = ["ok", "warning", "critical"]
# Share of a limit from which on it is told that it is nearly, or quite, used up.
NEARLY = 0.9
# Of the last events, as many are shown to people.
SHOWN_EVENTS = 3
# What mends a problem, as far as its kind alone tells.
REMEDIES = {
    "unreachable": "see whether the host is up, and whether SSH lets you in: ansible HOST -m ping",
    "failed": "correct what the text names in the inventory or on the host, then run status again",
    "not_running": "journalctl on the host says why; deploy starts it again, rollback goes to the release before",
    "health": "journalctl on the host says why; if a release brought it, rollback goes to the one before",
    "release": "deploy makes a release anew, or rollback goes to the one before",
    "certificate": "site renews it; with tls.mode provided, put the new one into tls.certificate and tls.key first",
    "nginx": "site writes, enables and starts it; a file that is not ours is to be repaired or removed by hand first",
    "not_deployed": "site, or deploy on a host that is prepared already",
    "not_in_inventory": "remove takes it off the host, if it is not to be in fastapi_apps again",
    "not_enabled": "deploy enables it",
    "workers": "the journal of its unit says why one ends; the number is the next release's if the host has changed",
    "limits": "raise it in limits, or find what leaks, then deploy; what the host has changed is the next release's",
    "sizes": "ask for less in workers and limits, or give the host more",
    "settings": "deploy, or put the settings back",
    "source": "deploy, or put the source back",
    "units": "undo on the host what was changed there, then systemctl daemon-reload; the next release brings its own",
    "nginx_file": "site writes it as it should be",
    "stale": "deploy stops it",
    "interrupted": "deploy takes over, and tidies up",
    "unfinished": "the next release's build removes it",
}
LIMITED = {
    "nofile": "a process of it has {} files open",
    "tasks_max": "it runs {} processes and threads",
    "memory_high": "it uses {} MiB of memory",
    "memory_max": "it uses {} MiB of memory",
}

Found = Mapping[str, t.Any]
Files = Mapping[str, str]
Problem = dict[str, str]


def fleet(hosts: Mapping[str, Found], files: Mapping[str, Files], certificate_days: int) -> dict[str, t.Any]:
    """Return the whole document.

    hosts: results of the module status. files: what NGINX's files should be, by host and path.
    """
    told = [_host(name, found, files.get(name, {}), certificate_days) for name, found in hosts.items()]
    return {
        "version": VERSION,
        "time": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "level": _worst(host["level"] for host in told),
        "hosts": told,
    }


def _host(name: str, found: Found, files: Files, certificate_days: int) -> dict[str, t.Any]:
    unreachable = bool(found.get("unreachable"))
    common: dict[str, t.Any] = {"host": name, "reachable": not unreachable}
    if unreachable or "apps" not in found:
        kind = "unreachable" if unreachable else "failed"
        problems = [_problem("critical", kind, str(found.get("msg") or "it was not asked"))]
        return {**common, "level": "critical", "problems": problems, "nginx": None, "apps": []}
    nginx = found["nginx"]
    problems = list(_judge_nginx(found, files))
    apps = [_app(app, nginx["files"], files, certificate_days) for app in found["apps"]]
    return {
        **common,
        "level": _worst([*(entry["level"] for entry in problems), *(app["level"] for app in apps)]),
        "problems": problems,
        "nginx": {
            "version": found["ansible_facts"]["paddock"]["nginx"],
            **{key: nginx[key] for key in ("installed", "active", "enabled", "unloaded", "problem")},
        },
        "apps": apps,
    }


def _app(found: Found, digests: Mapping[str, str], files: Files, certificate_days: int) -> dict[str, t.Any]:
    path = f"/etc/nginx/conf.d/{found['app']}.conf"
    deployed = found["configured"] and found["live"]
    drift = found["drift"] and {**found["drift"], "nginx": _differs(path, digests, files) if deployed else None}
    problems = list(_judge_app({**found, "drift": drift}, path, certificate_days))
    internal = {"fingerprint", "complete"}
    live = found["live"] and {key: value for key, value in found["live"].items() if key not in internal}
    told = {key: value for key, value in found.items() if key not in {"app", "configured", "size_problem"}}
    return {
        "app": found["app"],
        "configured": found["configured"],
        "level": _worst(entry["level"] for entry in problems),
        "problems": problems,
        **told,
        "live": live,
        "drift": drift,
    }


def _differs(path: str, digests: Mapping[str, str], files: Files) -> bool | None:
    """Tell whether a file of NGINX is another than the role would write, if that is known."""
    if path not in files:
        return None
    return digests.get(path) != hashlib.sha256(files[path].encode()).hexdigest()


# -- what is wrong --------------------------------------------------------------------------------------------------


def _problem(level: str, kind: str, text: str) -> Problem:
    return {"level": level, "kind": kind, "text": text.strip(), "remedy": REMEDIES[kind]}


def _worst(levels: Iterable[str]) -> str:
    return max(levels, key=LEVELS.index, default="ok")


def _judge_nginx(found: Found, files: Files) -> Iterator[Problem]:
    nginx = found["nginx"]
    serves = any(app["live"] and app["configured"] for app in found["apps"])
    if not nginx["installed"]:
        yield _problem("critical" if serves else "warning", "nginx", "NGINX is not installed; run site")
        return
    if not nginx["active"]:
        yield _problem("critical" if serves else "warning", "nginx", "NGINX does not run")
    if not nginx["enabled"]:
        yield _problem("warning", "nginx", "NGINX does not start at boot")
    if nginx["problem"]:
        text = f"NGINX would not start or reload with its present configuration: {nginx['problem']}"
        yield _problem("warning", "nginx", text)
    if nginx["unloaded"]:
        yield _problem("warning", "nginx", "NGINX has not loaded what was written last; run site")
    if _differs("/etc/nginx/nginx.conf", nginx["files"], files):
        yield _problem("warning", "nginx_file", "/etc/nginx/nginx.conf is not what site would write")


def _judge_app(app: Found, path: str, certificate_days: int) -> Iterator[Problem]:
    if not app["configured"]:
        text = "it is not in the inventory, and goes on as it is" if app["live"] else "it is not in the inventory"
        yield _problem("warning", "not_in_inventory", text)
    if app["live"]:
        yield from _judge_instance(app)
        yield from _judge_certificate(app["certificate"], certificate_days)
        yield from _judge_drift(app, path)
        yield from _judge_sizes(app)
    elif app["configured"]:
        yield _problem("warning", "not_deployed", "it is not deployed yet")
    yield from _judge_rollout(app)


def _judge_instance(app: Found) -> Iterator[Problem]:
    if not app["live"]["complete"]:
        yield _problem("critical", "release", "the live release lacks its release.json: it was damaged by hand")
    if not app["running"]:
        yield _problem("critical", "not_running", "its service or its socket does not run")
    if not app["enabled"]:
        yield _problem("warning", "not_enabled", "its service or its socket does not start at boot")
    if app["health"] and not app["health"]["ok"]:
        yield _problem("critical", "health", f"{app['health']['url']}: {app['health']['problem']}")
    workers = app["workers"]
    if app["running"] and workers["release"] and workers["running"] < workers["release"]:
        yield _problem("warning", "workers", f"{workers['running']} of {workers['release']} workers run")
    for name, limit in app["limits"].items():
        if limit["running"] and limit["used"] and limit["used"] >= NEARLY * limit["running"]:
            text = f"{LIMITED[name].format(limit['used'])}, and its limits.{name} is {limit['running']}"
            yield _problem("warning", "limits", text)


def _judge_certificate(certificate: Found | None, warn_days: int) -> Iterator[Problem]:
    if certificate is None or certificate["mode"] == "off":
        return
    days = certificate["days_left"]
    if certificate["problem"]:
        yield _problem("critical", "certificate", certificate["problem"])
    elif days < 0:
        yield _problem("critical", "certificate", f"the certificate expired at {certificate['expires']}")
    elif days < warn_days:
        yield _problem("warning", "certificate", f"the certificate expires in {days} days")


def _judge_drift(app: Found, path: str) -> Iterator[Problem]:
    drift = app["drift"] or {}
    as_before = f"; release {drift['release']} is just what is configured" if drift.get("release") else ""
    if drift.get("settings"):
        text = f"its settings, or this collection's templates, are not those of the live release{as_before}"
        yield _problem("warning", "settings", text)
    if drift.get("source"):
        yield _problem("warning", "source", f"its source is not that of the live release{as_before}")
    if drift.get("nginx"):
        yield _problem("warning", "nginx_file", f"{path} is not what site would write")
    for unit in app["units"]["differ"]:
        yield _problem("warning", "units", f"{unit} is not as the live release brought it")
    for override in app["units"]["overridden"]:
        yield _problem("warning", "units", f"{override} overrides its unit")
    if app["units"]["reload_needed"]:
        yield _problem("warning", "units", "systemd has not read its units as they are now (systemctl daemon-reload)")


def _judge_sizes(app: Found) -> Iterator[Problem]:
    if app.get("size_problem"):
        yield _problem("warning", "sizes", app["size_problem"])
    workers, wanted = app["workers"]["release"], app["workers"]["configured"]
    if workers and wanted and workers != wanted:
        text = f"it has {workers} workers; a new release on this host would have {wanted}"
        yield _problem("warning", "workers", text)
    comparable = app["running"] and app["configured"] and not app.get("size_problem")
    for name, limit in app["limits"].items():
        if comparable and limit["running"] != limit["configured"]:
            has, wanted = limit["running"] or "not set", limit["configured"] or "none"
            text = f"its limits.{name} is {has}; a new release on this host would have {wanted}"
            yield _problem("warning", "limits", text)


def _judge_rollout(app: Found) -> Iterator[Problem]:
    rollout = app["rollout"]
    if rollout and not rollout["dead"]:
        return  # what is there beside the live release is its work
    if rollout:
        text = f"a rollout by {rollout['by']} since {rollout['since']} was interrupted; the next one takes over"
        yield _problem("warning", "interrupted", text)
    for release in app["stale"]:
        yield _problem("warning", "stale", f"the instance of {release} runs or is enabled, and nothing will stop it")
    for release in app["unfinished"]:
        yield _problem("warning", "unfinished", f"the build of {release} was interrupted; the next one removes it")


# -- for people -----------------------------------------------------------------------------------------------------

HEADINGS = (
    *("STATE", "HOST", "APP", "LIVE RELEASE", "FOR", "BY", "WORKERS", "MEMORY"),
    *("RESTARTS", "HEALTH", "CERTIFICATE", "NGINX"),
)


def table(document: Found) -> list[str]:
    """Write the document as lines: a row for each app, and below it what there is to say of it."""
    rows: list[tuple[Sequence[str], list[str]]] = [(HEADINGS, [])]
    for host in document["hosts"]:
        about_host = [f"{entry['level']}: {_first_line(entry['text'])}" for entry in host["problems"]]
        if not host["apps"]:
            words = "-" if host["reachable"] else "unreachable"
            rows.append(((host["level"], host["host"], "-", words, *["-"] * 8), about_host))
        for app in host["apps"]:
            rows.append((_row(host, app), [*about_host, *_notes(app)]))
            about_host = []
    widths = [max(len(cells[column]) for cells, _notes_of in rows) for column in range(len(HEADINGS))]
    lines = []
    for cells, notes in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        lines += [f"    {note}" for note in notes]
    return [*lines, "", summary(document)]


def _row(host: Found, app: Found) -> Sequence[str]:
    live, health, certificate = app["live"], app["health"], app["certificate"]
    nginx = host["nginx"]
    state = "active" if nginx["active"] else "stopped" if nginx["installed"] else "missing"
    if not live:
        return (app["level"], host["host"], app["app"], "none", *["-"] * 6, _certificate(certificate), state)
    workers = app["workers"]
    return (
        app["level"],
        host["host"],
        app["app"],
        live["release"],
        span(live["live_seconds"]),
        live["by"] or "-",
        f"{workers['running']}/{workers['release'] or '?'}",
        f"{app['memory']['mib']} MiB" if app["memory"] else "-",
        "-" if app["restarts"] is None else str(app["restarts"]),
        "-" if not health else f"ok, {health['seconds'] * 1000:.0f} ms" if health["ok"] else "failing",
        _certificate(certificate),
        state,
    )


def _certificate(certificate: Found | None) -> str:
    if not certificate or certificate["mode"] == "off":
        return "off" if certificate else "-"
    return f"{'?' if certificate['days_left'] is None else certificate['days_left']} d, {certificate['mode']}"


def _notes(app: Found) -> Iterator[str]:
    for entry in app["problems"]:
        yield f"{entry['level']}: {_first_line(entry['text'])}"
    rollout = app["rollout"]
    if rollout and not rollout["dead"]:
        yield f"rollout: by {rollout['by']} (process {rollout['pid']} there) since {rollout['since']}"
    for standby in app["standby"]:
        left = standby["retires_in_seconds"]
        yield f"standby: {standby['release']}, {'being retired' if left is None else f'retires in {span(left)}'}"
    if app["rollback"]:
        yield f"can go back to: {', '.join(app['rollback'])}"
    for bad in app["bad"]:
        yield f"bad: {bad['release']}, {_first_line(bad['reason'])}"
    for event in app["history"][:SHOWN_EVENTS]:
        yield f"history: {_in_words(event)}"


def happened(event: Found) -> str:
    """Say what an event was."""
    to = event.get("release") or "nothing"
    return {
        "switched": f"switched to {to}",
        "rolled back": f"rolled back to {to}",
        "went back": f"went back to {to}",
        "did not pass": f"{to} did not pass its gate",
        "failed": f"{to} failed",
    }[event["event"]]


def _in_words(event: Found) -> str:
    """Write an event as a line."""
    after = "" if event.get("seconds") is None else f" after {span(event['seconds'])}"
    by = f", by {event['by']}" if event.get("by") else ""
    reason = f": {event['reason']}" if event.get("reason") else ""
    return f"{event['time']} {happened(event)}{after}{by}{reason}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def span(seconds: float | None) -> str:
    """Write seconds in the largest unit that keeps two digits of meaning, such as `90 s`, `5 min` or `3 d`."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def summary(document: Found) -> str:
    """Count hosts, apps and problems."""
    hosts = document["hosts"]
    apps = [app for host in hosts for app in host["apps"]]
    problems = [entry["level"] for part in (*hosts, *apps) for entry in part["problems"]]
    told = [f"{problems.count(level)} {level}" for level in reversed(LEVELS[1:]) if level in problems]
    return f"{_count(hosts, 'host')}, {_count(apps, 'app')}: {', '.join(told) or 'all is well'}"


def unwell(document: Found, least: str) -> list[str]:
    """Name the hosts and apps that have a problem of at least this level."""
    wanted = LEVELS[LEVELS.index(least) :]
    found = []
    for host in document["hosts"]:
        parts = [(host["host"], host["problems"])]
        parts += [(f"{host['host']} {app['app']}", app["problems"]) for app in host["apps"]]
        found += [name for name, problems in parts if any(entry["level"] in wanted for entry in problems)]
    return found


def _count(things: Sequence[t.Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
