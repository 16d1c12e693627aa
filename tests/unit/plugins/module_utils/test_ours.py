# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of telling what is ours on a host from what is not."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _ours
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.tests.unit.helpers import ROOT, write_files

OURS = "# Ansible managed (paddock.fastapi, role service)\n"


@pytest.fixture
def app(srv: Path) -> App:
    """Return an app that was never here, on a host without such accounts."""
    (srv / "shop/releases").rmdir()
    return App("shop", srv / "shop")


def accounts(monkeypatch: pytest.MonkeyPatch, *, home: str | None = None, members: list[str] | None = None) -> None:
    """Have a user with that home, and a group with these members; none if they are not given."""

    def user(name: str) -> pwd.struct_passwd:
        if home is None:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", 4321, 4321, "", home, ""))

    def group(name: str) -> grp.struct_group:
        if members is None:
            raise KeyError(name)
        return grp.struct_group((name, "x", 4321, members))

    monkeypatch.setattr(pwd, "getpwnam", user)
    monkeypatch.setattr(grp, "getgrnam", group)


def test_a_name_that_is_free(app: App) -> None:
    assert _ours.taken(app) == []
    app.root.rmdir()
    assert _ours.taken(app) == []


@pytest.mark.parametrize(
    ("home", "members", "expected"),
    [
        ("/home/shop", [], ["a user shop (its home is /home/shop)"]),
        ("ROOT", ["alice"], []),  # the app's own, which others may have been added to
        (None, [], []),  # a run was killed before it made the user
        (None, ["alice", "bob"], ["a group shop (with alice, bob)"]),
    ],
)
def test_accounts(
    app: App, monkeypatch: pytest.MonkeyPatch, home: str | None, members: list[str], expected: list[str]
) -> None:
    accounts(monkeypatch, home=str(app.root) if home == "ROOT" else home, members=members)
    assert _ours.taken(app) == expected


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"shared/notes.db": ""}, True),  # what is to be the app's was put there before
        ({"shared/notes.db": "", "rollouts.jsonl": ""}, True),  # what a removed app leaves
        ({"lost+found/x": ""}, True),
        ({"project.git/HEAD": ""}, False),
        ({"project.git/HEAD": "", "shared/x": ""}, False),
        ({"project.git/HEAD": "", "releases/x": ""}, True),  # there are releases, so the rest is the app's affair
    ],
)
def test_folders(app: App, files: dict[str, str], *, free: bool) -> None:
    write_files(app.root, files)
    assert _ours.taken(app) == ([] if free else [str(app.root)])


def test_a_file_where_the_folder_would_be(app: App) -> None:
    app.root.rmdir()
    app.root.touch()
    assert _ours.taken(app) == [str(app.root)]


def test_units(app: App, srv: Path) -> None:
    units = srv.parent / "units"
    for suffix in _ours.TEMPLATE_UNITS:
        (units / f"shop{suffix}").write_text(OURS)
    assert _ours.taken(app) == []
    (units / "shop@.service").write_bytes(b"[Unit]\nDescription=caf\xe9\n" + OURS.encode())
    (units / "shop.service").write_text("[Unit]\n")  # none that the collection would write
    assert _ours.taken(app) == [str(units / "shop@.service")]


def test_all_templates_of_files_that_others_could_have_say_whose_they_are() -> None:
    templates = [*(ROOT / "roles/service/templates").glob("*.j2"), *(ROOT / "roles/nginx/templates").glob("*.conf.j2")]
    files = [path for path in templates if not path.name.startswith("_") and not path.name.endswith(".run.j2")]
    assert len(files) >= 8
    assert [path.name for path in files if not _ours.is_ours(path)] == []
