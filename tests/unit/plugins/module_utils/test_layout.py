# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of where releases lie."""

from __future__ import annotations

import os
import shutil
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import (
    App,
    NoTargetError,
    created,
    digest_of,
    pending,
    prunable,
    release_id,
    rollback_target,
    rollback_targets,
    write,
)
from ansible_collections.paddock.fastapi.tests.unit.helpers import AS_ROOT, LIVE, NEW, OLD, release_folder
from hypothesis import given
from hypothesis import strategies as st

GROUP = 12345 if AS_ROOT else os.getgid()


@pytest.fixture
def app(tmp_path: Path) -> App:
    made = App.of("shop", str(tmp_path / "shop"))
    made.releases.mkdir(parents=True)
    return made


def test_names_and_paths() -> None:
    app = App.of("shop")
    assert str(app.releases) == "/srv/shop/releases"
    assert str(app.current) == "/srv/shop/current"
    assert str(app.socket(NEW)) == f"/srv/shop/releases/{NEW}/app.sock"
    assert app.service_unit(NEW) == f"shop@{NEW}.service"
    assert app.socket_unit(NEW) == f"shop@{NEW}.socket"
    assert str(App.of("shop", "/opt/x").root) == "/opt/x"


def test_ids() -> None:
    assert release_id("20261122T154042Z", "cccccccccccc") == NEW
    assert digest_of(NEW) == "cccccccccccc"
    assert created(NEW) == 1795362042
    assert time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(created(NEW))) == NEW.partition("-")[0]


@pytest.mark.parametrize("text", ["", "a\n", "a\r\nb\rc\n", "ä€\U0001f98a", "x" * 100_000])
def test_write_puts_a_file_in_place_whole_and_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    assert write(path, text, 0o640, GROUP) is True
    assert path.read_bytes() == text.encode()
    found = path.stat()
    assert found.st_mode & 0o7777 == 0o640
    assert found.st_gid == GROUP
    assert found.st_uid == os.geteuid()
    assert write(path, text, 0o640, GROUP) is False
    assert path.stat().st_ino == found.st_ino
    assert os.listdir(tmp_path) == ["file"]


def test_write_replaces_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text, mode in (("a", 0o600), ("a", 0o640), ("a\n", 0o640), ("a\r\n", 0o640)):
        assert write(path, text, mode, GROUP) is True
        assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (text.encode(), mode)
    if AS_ROOT:
        assert write(path, "a\r\n", 0o640, GROUP + 1) is True
        assert path.stat().st_gid == GROUP + 1


def test_write_ignores_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "file", "a", 0o755, GROUP)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o755


def test_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write(target, "a", 0o644, GROUP)
    path = tmp_path / "file"
    path.symlink_to(target)
    assert write(path, "a", 0o644, GROUP) is True
    assert not path.is_symlink()
    write(path, "b", 0o644, GROUP)
    assert target.read_text() == "a"


def test_write_replaces_a_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"caf\xe9")
    assert write(path, "café", 0o644, GROUP) is True
    assert path.read_bytes() == "café".encode()


def test_write_overwrites_what_a_killed_run_left_beside(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_text("half")
    assert write(tmp_path / "file", "whole", 0o644, GROUP) is True
    assert os.listdir(tmp_path) == ["file"]


def test_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write(path, "before", 0o644, GROUP)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, "after", 0o644, GROUP)
    assert path.read_text() == "before"


def test_complete_and_unfinished(app: App) -> None:
    assert app.complete() == app.unfinished() == []
    for release in (NEW, OLD):
        release_folder(app.root, release)
    release_folder(app.root, LIVE, complete=False)
    (app.releases / "lost+found").mkdir()
    (app.releases / "notes.txt").touch()
    assert app.complete() == [OLD, NEW]
    assert app.unfinished() == [LIVE]


def test_the_live_release_is_never_unfinished(app: App) -> None:
    release_folder(app.root, LIVE, complete=False)
    app.point_current(LIVE)
    assert app.unfinished() == []


def test_an_app_without_a_folder(tmp_path: Path) -> None:
    app = App.of("shop", str(tmp_path / "nothing"))
    assert (app.live(), app.complete(), app.unfinished()) == (None, [], [])


@pytest.mark.parametrize("target", ["releases/other", "releases/", f"{NEW}.old", "../x"])
def test_a_strange_link_is_no_live_release(app: App, target: str) -> None:
    app.current.symlink_to(target)
    assert app.live() is None


def test_a_folder_is_no_live_release(app: App) -> None:
    app.current.mkdir()
    assert app.live() is None


def test_point_current_over_what_a_killed_run_left(app: App) -> None:
    (app.root / ".current.new").symlink_to("releases/half")
    app.point_current(NEW)
    assert str(app.current.readlink()) == f"releases/{NEW}"
    assert app.live() == NEW
    assert sorted(os.listdir(app.root)) == ["current", "releases"]


def test_readers_never_see_current_missing(app: App) -> None:
    for release in (LIVE, NEW):
        (release_folder(app.root, release) / "id").write_text(release)
    app.point_current(LIVE)
    stop = threading.Event()
    seen: list[str] = []
    trouble: list[OSError] = []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.append((app.current / "id").read_text())
            except OSError as error:
                trouble.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        deadline = time.monotonic() + 5
        switches = 0
        while (switches < 200 or len(set(seen)) < 2) and time.monotonic() < deadline:
            app.point_current((LIVE, NEW)[switches % 2])
            switches += 1
    finally:
        stop.set()
        reader.join()
    assert trouble == []
    assert set(seen) == {LIVE, NEW}


def test_remove(app: App) -> None:
    folder = release_folder(app.root, OLD)
    (folder / "src").mkdir()
    app.remove(OLD)
    assert not folder.exists()


def test_a_release_that_is_half_deleted_is_not_complete(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    release_folder(app.root, OLD)

    def killed(*_arguments: t.Any, **_options: t.Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        app.remove(OLD)
    assert (app.complete(), app.unfinished()) == ([], [OLD])


def test_metadata(app: App) -> None:
    release_folder(app.root, OLD)
    assert app.metadata(OLD) == {"source": "test", "size_mb": 1}


DIGESTS = st.sampled_from(["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"])
IDS = st.builds(lambda day, digest: f"202611{day:02}T000000Z-{digest}", st.integers(1, 9), DIGESTS)
RELEASES = st.lists(IDS, unique=True).map(sorted)


@given(RELEASES, st.integers(2, 10), st.data())
def test_pruning(complete: list[str], keep: int, data: st.DataObject) -> None:
    protected = data.draw(st.sets(st.sampled_from([*complete, None]), max_size=3))
    pruned = prunable(complete, keep, protected)
    left = [release for release in complete if release not in pruned]
    assert not set(pruned) & protected, "the live release or one that runs would be deleted"
    assert set(pruned) <= set(complete)
    assert len(left) == min(len(complete), max(keep, len(set(complete) & protected)))
    unprotected = [release for release in left if release not in protected]
    assert all(gone < kept for gone in pruned for kept in unprotected), "the oldest go first"


@given(RELEASES, st.data(), DIGESTS, st.booleans(), st.booleans())
def test_pending(releases: list[str], data: st.DataObject, digest: str, running: bool, enabled: bool) -> None:  # noqa: FBT001
    live = data.draw(st.sampled_from([*releases, None]))
    app = {"name": "shop", "digest": digest, "release": f"20261122T000000Z-{digest}", "other": 1}
    state: dict[str, t.Any] = {
        "releases": releases,
        "live": live,
        "running": running,
        "enabled": enabled,
        "prepared": True,
        "bad": {},
    }
    result = pending([app], {"shop": state, "blog": {}})
    done = live is not None and digest_of(live) == digest and running and enabled
    assert bool(result) is not done
    for entry in result:
        assert digest_of(entry["release"]) == digest, "another release than the wanted one would be staged"
        assert entry["built"] == (entry["release"] in releases)
        assert entry["live"] == (entry["release"] == live)
        assert entry["built"] or not any(digest_of(release) == digest for release in releases), "built a second time"
        assert (entry["name"], entry["other"], entry["prepared"]) == ("shop", 1, True)
    assert app["release"] == f"20261122T000000Z-{digest}"


def test_pending_prefers_the_live_release_and_then_the_newest() -> None:
    same = [f"2026110{day}T000000Z-aaaaaaaaaaaa" for day in (1, 2, 3)]
    app = {"name": "shop", "digest": "aaaaaaaaaaaa", "release": NEW}
    state = {
        "releases": same,
        "live": same[1],
        "running": False,
        "enabled": True,
        "prepared": True,
        "bad": {same[2]: "why"},
    }
    assert pending([app], {"shop": state})[0]["release"] == same[1]
    newest = pending([app], {"shop": {**state, "live": None}})[0]
    assert (newest["release"], newest["bad"]) == (same[2], "why")


def test_bad_releases_are_pruned_before_good_ones() -> None:
    releases = [f"2026110{day}T000000Z-aaaaaaaaaaaa" for day in (1, 2, 3, 4, 5)]
    assert prunable(releases, 3, {releases[4]}, {releases[2], releases[3]}) == [releases[2], releases[3]]
    assert prunable(releases, 2, {releases[4]}, {releases[3]}) == [releases[3], releases[0], releases[1]]


@pytest.fixture
def three(tmp_path: Path) -> App:
    app = App("shop", tmp_path)
    for release in (OLD, LIVE, NEW):
        folder = app.release(release)
        folder.mkdir(parents=True)
        (folder / "release.json").write_text("{}")
    return app


def test_marks(three: App) -> None:
    assert three.marks() == ({}, {})
    three.mark_proven(OLD)
    three.mark_bad(NEW, "it did not pass\n")
    three.mark_bad("20200101T000000Z-000000000000", "there is no such release")
    proven, bad = three.marks()
    assert (list(proven), bad) == ([OLD], {NEW: "it did not pass"})
    assert abs(proven[OLD] - time.time()) < 60
    three.mark_proven(NEW)
    assert three.marks()[1] == {}


STATE: dict[str, t.Any] = {
    "live": NEW,
    "releases": [OLD, LIVE, NEW],
    "proven": {OLD: 3.0, LIVE: 2.0, NEW: 4.0},
    "bad": {},
}


def test_a_rollback_goes_to_what_was_live_before() -> None:
    assert rollback_targets(STATE) == [OLD, LIVE]
    assert rollback_target("shop", STATE) == OLD, "the last that was live, not the one that was built last"
    assert rollback_target("shop", {**STATE, "bad": {OLD: "why"}}) == LIVE
    assert rollback_target("shop", {**STATE, "proven": {NEW: 4.0, LIVE: 1.0}}) == LIVE, (
        "one that never was live is no target"
    )
    assert rollback_target("shop", STATE, LIVE) == LIVE


@pytest.mark.parametrize(
    ("change", "wanted", "message"),
    [
        ({"proven": {NEW: 1.0}}, None, "app shop: there is no earlier good release on this host to go back to"),
        ({"bad": {OLD: "a", LIVE: "b"}}, None, "app shop: there is no earlier good release on this host to go back to"),
        ({}, NEW, f"app shop: release {NEW} is live already"),
        ({}, "other", f"app shop: there is no release other on this host; it has {OLD}, {LIVE}, {NEW}"),
        ({"bad": {OLD: "it was slow"}}, OLD, f"app shop: release {OLD} is marked bad: it was slow"),
    ],
)
def test_a_rollback_without_a_target(change: dict[str, t.Any], wanted: str | None, message: str) -> None:
    with pytest.raises(NoTargetError) as caught:
        rollback_target("shop", {**STATE, **change}, wanted)
    assert str(caught.value) == message
