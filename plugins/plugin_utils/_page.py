# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what was found on all hosts as a page for a browser. Pure: the document comes in, HTML goes out.

The page is one file that loads nothing and runs nothing, and its policy has the browser see to that: what hosts and
apps say of themselves is in it, and may be anything.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.paddock.fastapi.plugins.plugin_utils._report import SHOWN_EVENTS, happened, span, summary

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f5f7; --card: #fff; --text: #1c2128; --quiet: #57606a; --line: #d8dee4;
  --ok: #116329; --ok-back: #dcf5e3; --warning: #7a4d00; --warning-back: #fdefc8;
  --critical: #a40e26; --critical-back: #ffe1e0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1318; --card: #171c23; --text: #e3e8ee; --quiet: #9aa5b1; --line: #2d353f;
    --ok: #6fdc8c; --ok-back: #10301c; --warning: #f2c14e; --warning-back: #362a08;
    --critical: #ff9a97; --critical-back: #431519;
  }
}
* { box-sizing: border-box; }
body {
  max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 1.6rem; line-height: 1.2; }
h2 { display: flex; align-items: center; gap: .6rem; margin: 2.5rem 0 .5rem; font-size: 1.25rem; }
h3 { margin: 0; font-size: 1.1rem; }
h4 { margin: 1.25rem 0 .35rem; font-size: .9rem; }
p { margin: .35rem 0; }
a { color: inherit; }
code { font: .86em/1.5 ui-monospace, monospace; }
.quiet { color: var(--quiet); font-size: .9rem; }
.level {
  display: inline-block; padding: 0 .55em; border-radius: 1em; font-size: .85rem; font-weight: 600; line-height: 1.6;
  overflow-wrap: normal;
}
.ok { background: var(--ok-back); color: var(--ok); }
.warning { background: var(--warning-back); color: var(--warning); }
.critical { background: var(--critical-back); color: var(--critical); }
.head { display: flex; flex-wrap: wrap; align-items: center; gap: .35rem .75rem; }
.card, .fleet { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.card { margin: 0 0 1rem; padding: 1rem 1.25rem; }
.fleet { margin-top: 1.5rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; text-align: left; }
th, td { padding: .6rem .9rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; color: var(--quiet); font-size: .85rem; }
.history th, .history td { padding: .3rem .9rem .3rem 0; font-size: .9rem; }
.history thead th, .history td:first-child { white-space: nowrap; }
.history td:nth-child(4) { min-width: 6.5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .8rem 1.5rem; margin: 1rem 0 0; }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-size: .95rem; }
ul { margin: .75rem 0 1rem; padding: 0; list-style: none; }
li { margin-top: .5rem; padding: .5rem .8rem; border-left: .25rem solid; border-radius: .3rem; }
li p { margin: .1rem 0; color: var(--text); white-space: pre-wrap; }
li strong { text-transform: capitalize; }
li.warning strong { color: var(--warning); }
li.critical strong { color: var(--critical); }
summary { margin-top: .5rem; cursor: pointer; font-size: .9rem; }
@media (max-width: 44rem) {
  thead { position: absolute; clip-path: inset(50%); }
  table, tbody, tr, th, td { display: block; }
  td:empty { display: none; }
  dl { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
  .fleet tr + tr { border-top: 1px solid var(--line); }
  .fleet tr { padding: .6rem .9rem; }
  .fleet th, .fleet td { padding: .25rem 0; border: 0; }
  .history tr { padding: .5rem 0; border-top: 1px solid var(--line); }
  .history th, .history td { padding: 0; border: 0; }
  td[data-name]::before { content: attr(data-name) " "; color: var(--quiet); font-size: .85rem; }
}
@media print { .card { break-inside: avoid; } }
"""
POLICY = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"

Found = Mapping[str, t.Any]


class Html(str):
    """What is HTML already. Any other text is escaped on its way into an element, so that none can be forgotten."""

    __slots__ = ()


def element(name: str, *inside: str, **attributes: str) -> Html:
    """Write an element. In attributes `_` stands for a hyphen, or for nothing at the end of a word of Python's."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(attributes[key])}"' for key in attributes)
    return Html(f"<{name}{given}>{joined(inside)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """Write texts and elements one after the other."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def page(document: Found) -> str:
    """Write the document that `fleet` returned as a page."""
    hosts = document["hosts"]
    title = f"{document['level']}: {summary(document)}"
    head = [
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="robots" content="noindex">'),
        element("title", title),
        # Neither is text of anybody's, and a style is not to be escaped.
        Html(f"<style>{STYLE}</style>"),
    ]
    body = [
        element("header", element("div", element("h1", "What runs where"), _level(document["level"]), class_="head")),
        element("p", summary(document)),
        element("p", f"As it was at {_moment(document['time'])}, when status was run.", class_="quiet"),
        _overview(hosts) if hosts else element("p", "There are no hosts."),
        *(_host(number, host, document["time"]) for number, host in enumerate(hosts)),
    ]
    # A part in each line, for those who compare two pages.
    main = element("main", *(Html(f"{part}\n") for part in body))
    return f'<!DOCTYPE html>\n<html lang="en">\n{element("head", *head)}\n{element("body", main)}\n</html>\n'


def _level(level: str) -> Html:
    return element("span", level, class_=f"level {level}")


def _moment(time: str) -> str:
    """Write a moment of the document as people do: 2026-11-22 15:40 UTC."""
    return f"{time[:10]} {time[11:16]} UTC"


# -- hosts by apps --------------------------------------------------------------------------------------------------


def _overview(hosts: Sequence[Found]) -> Html:
    """Write a row for each host, and in it a cell for each app that any of them has."""
    names = list(dict.fromkeys(app["app"] for host in hosts for app in host["apps"]))
    headings = [element("th", name, scope="col") for name in ("Host", *names)]
    rows = [element("tr", *_cells(number, host, names)) for number, host in enumerate(hosts)]
    table = element("table", element("thead", element("tr", *headings)), element("tbody", *rows))
    return element("div", table, class_="fleet")


def _cells(number: int, host: Found, names: Sequence[str]) -> Iterator[Html]:
    link = element("a", host["host"], href=f"#host-{number}")
    yield element("th", element("div", link, " ", _level(host["level"]), class_="head"), scope="row")
    places = {app["app"]: (place, app) for place, app in enumerate(host["apps"])}
    for name in names:
        if name not in places:
            yield element("td", "-" if host["apps"] else _without_apps(host), data_name=name, class_="quiet")
            continue
        place, app = places[name]
        live = app["live"]
        told = [
            element("div", element("a", _level(app["level"]), href=f"#app-{number}-{place}")),
            element("code", live["release"]) if live else element("span", "not deployed", class_="quiet"),
        ]
        if live:
            told += [_quietly(f"live for {span(live['live_seconds'])}"), _quietly(_size(app))]
        yield element("td", *told, data_name=name)


def _without_apps(host: Found) -> str:
    return "no apps" if host["reachable"] else "unreachable"


# -- each host, and each of its apps --------------------------------------------------------------------------------


def _host(number: int, host: Found, now: str) -> Html:
    nginx = host["nginx"]
    parts = [element("h2", host["host"], _level(host["level"]), id=f"host-{number}")]
    if nginx:
        parts.append(element("p", _nginx(nginx), class_="quiet"))
    parts += _problems(host["problems"])
    parts += [_app(f"app-{number}-{place}", app, now) for place, app in enumerate(host["apps"])]
    return element("section", *parts)


def _nginx(nginx: Found) -> str:
    if not nginx["installed"]:
        return "NGINX is not installed"
    state = "runs" if nginx["active"] else "does not run"
    return f"NGINX {nginx['version']} {state}, and {'starts' if nginx['enabled'] else 'does not start'} at boot"


def _problems(problems: Sequence[Found]) -> Iterator[Html]:
    if not problems:
        return
    yield element("ul", *(element("li", *_problem(entry), class_=f"problem {entry['level']}") for entry in problems))


def _problem(entry: Found) -> Iterator[Html]:
    yield element("p", element("strong", f"{entry['level']}:"), " ", entry["text"])
    yield element("p", f"What mends it: {entry['remedy']}.", class_="quiet")


def _app(place: str, app: Found, now: str) -> Html:
    facts = (element("div", element("dt", term), element("dd", *told)) for term, told in _facts(app, now))
    parts = [
        element("div", element("h3", app["app"]), _level(app["level"]), class_="head"),
        *_problems(app["problems"]),
        element("dl", *facts),
        *_history(app["history"]),
    ]
    return element("article", *parts, class_="card", id=place)


def _facts(app: Found, now: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Tell of an app, each fact with what it is called."""
    live = app["live"]
    if not live:
        yield "Live release", ["none"]
    else:
        yield "Live release", [element("code", live["release"]), _quietly(_since(live, now))]
        yield "Made of", [live["source"] or "-", _quietly(f"by {live['built_by']}" if live["built_by"] else "")]
        yield "Health", list(_health(app))
        yield "Workers", [f"{_workers(app)} run"]
        yield "Memory", list(_memory(app))
        yield "Restarts by systemd", ["-" if app["restarts"] is None else str(app["restarts"])]
    yield "Certificate", list(_certificate(app["certificate"]))
    yield "Drift from the inventory", list(_drift(app))
    if app["rollout"]:
        rollout = app["rollout"]
        state = "was interrupted" if rollout["dead"] else "goes on"
        yield "Rollout", [f"by {rollout['by']} {state}", _quietly(f"since {rollout['since']}")]
    if app["standby"]:
        yield "Warm beside it", [_lines(_standby(entry) for entry in app["standby"])]
    yield "Can go back to", [_lines(element("code", release) for release in app["rollback"])]
    if app["bad"]:
        bad = ((element("code", entry["release"]), " ", _quietly(entry["reason"])) for entry in app["bad"])
        yield "Marked bad", [_lines(joined(line) for line in bad)]


def _workers(app: Found) -> str:
    return f"{app['workers']['running']} of {app['workers']['release'] or '?'}"


def _size(app: Found) -> str:
    memory = f", {app['memory']['mib']} MiB" if app["memory"] else ""
    return f"{_workers(app)} workers{memory}"


def _quietly(text: str) -> Html:
    return element("div", text, class_="quiet") if text else Html()


def _lines(lines: Iterable[str]) -> str:
    return joined(element("div", line) for line in lines) or "nothing"


def _since(live: Found, now: str) -> str:
    seconds, by = live["live_seconds"], f" by {live['by']}" if live["by"] else ""
    if seconds is None:
        return f"since nobody knows when{by}"
    moment = datetime.datetime.fromisoformat(now) - datetime.timedelta(seconds=seconds)
    return f"for {span(seconds)}, since {_moment(moment.isoformat())}{by}"


def _health(app: Found) -> Iterator[str]:
    health = app["health"]
    if not health:
        yield "not asked"
        return
    yield f"ok, {health['seconds'] * 1000:.0f} ms" if health["ok"] else "failing"
    yield _quietly(health["url"])


def _memory(app: Found) -> Iterator[str]:
    yield f"{app['memory']['mib']} MiB" if app["memory"] else "-"
    if most := app["limits"].get("memory_max", {}).get("running"):
        yield _quietly(f"of {most} MiB at most")


def _certificate(certificate: Found | None) -> Iterator[str]:
    if not certificate:
        yield "-"
    elif certificate["mode"] == "off":
        yield "none, plain HTTP"
    elif certificate["days_left"] is None:
        yield certificate["problem"] or "?"
    else:
        days = certificate["days_left"]
        yield "expired" if days < 0 else f"{days} day{'' if days == 1 else 's'} left"
        yield _quietly(f"{certificate['mode']}, until {_moment(certificate['expires'])}")


def _drift(app: Found) -> Iterator[str]:
    if not app["configured"]:
        yield "not in the inventory"
        return
    drift = app["drift"]
    if not drift:
        yield "not deployed"
        return
    parts = {"settings": "settings", "source": "source", "nginx": "site of NGINX"}
    differ = [name for key, name in parts.items() if drift[key]]
    yield f"differs: {', '.join(differ)}" if differ else "none"
    yield _quietly(f"source not compared: {drift['source_unknown']}" if drift["source_unknown"] else "")


def _standby(entry: Found) -> Html:
    left = entry["retires_in_seconds"]
    told = "being retired" if left is None else f"retires in {span(left)}"
    return joined((element("code", entry["release"]), " ", _quietly(told)))


def _history(events: Sequence[Found]) -> Iterator[Html]:
    """Write the end of the log of rollouts, the latest first; more than people mostly look for unfolds."""
    if not events:
        return
    yield element("h4", "History")
    yield _events(events[:SHOWN_EVENTS])
    if earlier := events[SHOWN_EVENTS:]:
        yield element("details", element("summary", f"{len(earlier)} earlier"), _events(earlier))


def _events(events: Iterable[Found]) -> Html:
    headings = [element("th", name, scope="col") for name in ("When", "What", "Took", "By", "Why")]
    rows = [
        element(
            "tr",
            element("td", _moment(event["time"])),
            element("td", happened(event)),
            element("td", span(event.get("seconds")), data_name="took"),
            element("td", event.get("by") or "", data_name="by"),
            element("td", event.get("reason") or "", data_name="why"),
        )
        for event in events
    ]
    return element("table", element("thead", element("tr", *headings)), element("tbody", *rows), class_="history")
