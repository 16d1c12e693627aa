# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the page for a browser, as a parser of HTML reads it."""

from __future__ import annotations

import re
import typing as t
from html.parser import HTMLParser

import pytest
from ansible_collections.paddock.fastapi.plugins.plugin_utils import _page, _report
from ansible_collections.paddock.fastapi.tests.unit.helpers import LIVE, NEW, OLD
from ansible_collections.paddock.fastapi.tests.unit.plugins.plugin_utils.test_report import (
    APP,
    EVENT,
    FILES,
    HOST,
    ROLLOUT,
    changed,
    told_of,
)

VOID = {"meta"}
# Nothing in a page can load or run anything, but for what these could do.
HARMLESS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "article", "div", "span", "p"),
    *("h1", "h2", "h3", "h4", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "ul", "li", "a", "code"),
    *("strong", "details", "summary"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "scope", "data-name"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</style></title></code><script src=//evil.example></script>",
    "\"><img src=x onerror='alert(1)'>",
    "' autofocus onfocus='alert(1)",
    "&lt;script&gt;&amp;&#60;",
    "<!-- ]]> -->",
    "javascript:alert(1)",
    "a\nb\u2028c\x00d\u202ee",
    "{0} {app} %s {{ lookup('pipe', 'id') }}",
]


class Page(HTMLParser):
    """What a page is made of. Elements that are not closed, or in another order, are a mistake."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def having(self, name: str) -> list[str]:
        return [attributes[name] for _tag, attributes in self.elements if name in attributes]


def read(document: dict[str, t.Any]) -> Page:
    """Parse a page, which is always harmless and has no link to nowhere."""
    page = Page(_page.page(document))
    assert {tag for tag, _attributes in page.elements} <= HARMLESS
    assert {name for _tag, attributes in page.elements for name in attributes} <= ATTRIBUTES
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    assert set(page.having("href")) <= {f"#{place}" for place in ids}
    return page


def test_a_host_that_is_well() -> None:
    page = read(told_of())
    classes = page.having("class")
    assert {name for name in classes if name.startswith("level ")} == {"level ok"}
    assert page.text.count("1 host, 1 app: all is well") == 2  # in the title as well
    for text in ("web1", "shop", LIVE, "NGINX 1.26.3 runs, and starts at boot"):
        assert text in page.text
    assert "What mends it" not in page.text
    assert page.having("href") == ["#host-0", "#app-0-0"]


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        (
            [],
            [
                "for 3 d",
                "since 2026-11-19 12:00 UTC by alice@laptop",
                "/src/shop",
                "2 of 2 run",
                "2 of 2 workers, 143 MiB",
            ],
        ),
        (
            [],
            ["ok, 4 ms", "https://shop.example.com:443/healthz", "143 MiB of 512 MiB at most", "Restarts by systemd 0"],
        ),
        (
            [],
            [
                "364 days left selfsigned, until 2027-11-22 00:00 UTC",
                "Drift from the inventory none",
                "Can go back to nothing",
            ],
        ),
        ([("live.live_seconds", None), ("live.by", "")], ["since nobody knows when", "live for -"]),
        (
            [("live", None), ("drift", None), ("health", None)],
            ["not deployed", "Live release none", "it is not deployed yet"],
        ),
        ([("memory", None), ("restarts", None)], ["Memory -", "Restarts by systemd -"]),
        ([("workers.release", None)], ["2 of ? run"]),
        ([("health", None)], ["Health not asked"]),
        (
            [("health.ok", False), ("health.problem", "answered 502\nat once")],
            ["Health failing", "answered 502 at once", f"What mends it: {_report.REMEDIES['health']}."],
        ),
        (
            [("certificate", None), ("configured", False)],
            ["Certificate -", "Drift from the inventory not in the inventory"],
        ),
        ([("certificate.mode", "off"), ("certificate.days_left", None)], ["Certificate none, plain HTTP"]),
        ([("certificate.days_left", 1)], ["Certificate 1 day left", "What mends it: site renews it"]),
        ([("certificate.days_left", -3)], ["Certificate expired"]),
        (
            [("certificate.days_left", None), ("certificate.problem", "there is no file")],
            ["Certificate there is no file"],
        ),
        (
            [("drift.settings", True), ("drift.source", True)],
            ["differs: settings, source", "deploy, or put the source back."],
        ),
        (
            [("drift.source", None), ("drift.source_unknown", "it is in git")],
            ["none source not compared: it is in git"],
        ),
        ([("rollback", [OLD, NEW])], [f"Can go back to {OLD} {NEW}"]),
        ([("standby", [{"release": OLD, "retires_in_seconds": 42}])], [f"Warm beside it {OLD} retires in 42 s"]),
        ([("standby", [{"release": OLD, "retires_in_seconds": None}])], [f"{OLD} being retired"]),
        ([("bad", [{"release": NEW, "reason": "slow"}])], [f"Marked bad {NEW} slow"]),
        ([("rollout", ROLLOUT)], ["by bob@ci goes on since 2026-11-22 15:40:42 UTC"]),
        ([("rollout", {**ROLLOUT, "dead": True})], ["by bob@ci was interrupted"]),
        (
            [("history", [EVENT])],
            [f"2026-11-22 15:40 UTC {NEW} did not pass its gate 12 s bob@ci /healthz answered 500 instead of 200"],
        ),
        (
            [("history", [{"time": EVENT["time"], "event": "switched", "release": NEW}] * 5)],
            [f"switched to {NEW} -", "2 earlier"],
        ),
    ],
)
def test_what_is_told_of_an_app(changes: list[tuple[str, t.Any]], texts: list[str]) -> None:
    page = read({**told_of(*changes), "time": "2026-11-22T12:00:00Z"})
    for text in texts:
        assert text in page.text, page.text


@pytest.mark.parametrize("level", _report.LEVELS)
def test_a_level_is_a_word_as_well_as_a_colour(level: str) -> None:
    changes = {"ok": [], "warning": [("enabled", False)], "critical": [("running", False)]}[level]
    page = read(told_of(*changes))
    assert f"level {level}" in page.having("class")
    # The fleet, its host, and the app in the overview and where it is told of.
    assert page.texts.count(level) == 5


def test_hosts_by_apps() -> None:
    blog = changed(APP, ("app", "blog"))
    hosts = {
        "web1": {**HOST, "apps": [APP, blog]},
        "web2": {**HOST, "apps": [blog]},
        "web3": {"unreachable": True, "msg": "no route\nat all"},
        "web4": {**HOST, "apps": []},
        "web5": changed(HOST, ("nginx.installed", False)),
    }
    page = read(_report.fleet(hosts, {}, 14))
    columns = [
        attributes["data-name"] for _tag, attributes in page.elements if attributes.get("data-name") in {"shop", "blog"}
    ]
    assert columns == ["shop", "blog"] * 5
    links = [link for link in page.having("href") if link.startswith("#app")]
    assert links == ["#app-0-0", "#app-0-1", "#app-1-0", "#app-4-0"]
    assert page.texts.count("unreachable") == page.texts.count("no apps") == 2
    for text in ("no route at all", f"What mends it: {_report.REMEDIES['unreachable']}.", "NGINX is not installed"):
        assert text in page.text


def test_no_hosts_at_all() -> None:
    page = read(_report.fleet({}, {}, 14))
    assert "There are no hosts." in page.text
    assert "0 hosts, 0 apps: all is well" in page.text


def everywhere(value: t.Any, text: str, name: str = "") -> t.Any:
    """Return a copy that says this in all its texts, but for those whose values are ours."""
    if isinstance(value, dict):
        return {key: everywhere(inner, text, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [everywhere(inner, text, name) for inner in value]
    return text if isinstance(value, str) and name not in {"level", "event", "time", "expires", "mode"} else value


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text: str) -> None:
    full = [
        *(
            ("running", False),
            ("health.ok", False),
            ("rollout", ROLLOUT),
            ("history", [EVENT] * 5),
            ("rollback", [OLD]),
        ),
        *(("bad", [{"release": NEW, "reason": "x"}]), ("standby", [{"release": OLD, "retires_in_seconds": 4}])),
        *(("drift.source_unknown", "x"), ("units.differ", ["x"])),
    ]
    host = {**HOST, "apps": [changed(APP, *full)]}
    document = _report.fleet({"web1": host, "web2": {"unreachable": True, "msg": "x"}}, {"web1": FILES}, 14)
    plain, page = read(everywhere(document, "x")), read(everywhere(document, text))
    shape = [(tag, sorted(attributes)) for tag, attributes in page.elements]
    assert shape == [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert "".join(page.texts).count(text) > 30
    assert text in page.having("data-name")


def test_nothing_is_loaded_or_run() -> None:
    text = _page.page(told_of())
    assert len(re.findall("<style>", text)) == 1
    assert "default-src 'none'; style-src 'sha256-" in text
    assert not re.search(r"@import|url\(|expression", _page.STYLE)
    # The style is what the policy allows; a browser would not apply another.
    assert f"<style>{_page.STYLE}</style>" in text


def test_elements() -> None:
    inner = _page.element("b", "<&>")
    assert inner == "<b>&lt;&amp;&gt;</b>"
    assert _page.element("td", inner, '"', data_name='"<', class_="a") == (
        '<td data-name="&quot;&lt;" class="a"><b>&lt;&amp;&gt;</b>&quot;</td>'
    )
