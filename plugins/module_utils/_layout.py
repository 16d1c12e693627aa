# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an app's releases lie on a host, and what can be read from there. Standard library only."""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import re
import shutil
import time
import typing as t
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")


def release_id(stamp: str, digest: str) -> str:
    """Name a release. stamp: UTC, such as 20261122T154042Z."""
    return f"{stamp}-{digest}"


def created(release: str) -> int:
    """Return when a release was named, in seconds since the epoch."""
    return calendar.timegm(time.strptime(release.partition("-")[0], "%Y%m%dT%H%M%SZ"))


def digest_of(release: str) -> str:
    """Return the digest part of a release's id."""
    return release.rpartition("-")[2]


@dataclass(frozen=True)
class App:
    """The folder of one app on this host."""

    name: str
    root: Path

    @classmethod
    def of(cls, name: str, root: str | None = None) -> App:
        """Find an app by its name."""
        return cls(name, Path(root or f"/srv/{name}"))

    @property
    def releases(self) -> Path:
        """Folder of the releases."""
        return self.root / "releases"

    @property
    def current(self) -> Path:
        """Link to the live release: the one place that says what is live."""
        return self.root / "current"

    def release(self, release: str) -> Path:
        """Folder of a release."""
        return self.releases / release

    def socket(self, release: str) -> Path:
        """Socket of a release's instance."""
        return self.release(release) / "app.sock"

    def credentials(self, release: str) -> Path:
        """Folder of a release's credentials, a file for each."""
        return self.release(release) / "credentials"

    def load_credentials(self, release: str) -> list[str]:
        """Tell systemd to load a release's credentials: values of LoadCredential=."""
        folder = self.credentials(release)
        return [f"{path.name}:{path}" for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def service_unit(self, release: str) -> str:
        """Return the name of an instance's service."""
        return f"{self.name}@{release}.service"

    def socket_unit(self, release: str) -> str:
        """Return the name of an instance's socket unit."""
        return f"{self.name}@{release}.socket"

    def live(self) -> str | None:
        """Return the id of the live release, if there is one."""
        try:
            target = self.current.readlink().name
        except OSError:
            return None
        return target if ID.fullmatch(target) else None

    def complete(self) -> list[str]:
        """Return the ids of all releases that were built to the end, oldest first.

        release.json is written last, so a build that was interrupted has none.
        """
        if not self.releases.is_dir():
            return []
        found = (path for path in self.releases.iterdir() if ID.fullmatch(path.name))
        return sorted(path.name for path in found if (path / "release.json").is_file())

    def unfinished(self) -> list[str]:
        """Return what interrupted builds left behind: nothing but folders named as releases, and never the live one."""
        if not self.releases.is_dir():
            return []
        done = {*self.complete(), self.live()}
        found = (path for path in self.releases.iterdir() if ID.fullmatch(path.name) and path.is_dir())
        return sorted(path.name for path in found if path.name not in done)

    def metadata(self, release: str) -> dict[str, t.Any]:
        """Read a release's release.json."""
        return t.cast("dict[str, t.Any]", json.loads((self.release(release) / "release.json").read_text()))

    def mark_proven(self, release: str) -> None:
        """Remember that a release answered through the public listener, and when; whatever spoke against it is over."""
        (self.release(release) / "bad").unlink(missing_ok=True)
        write(self.release(release) / "proven", f"{time.time():.3f}\n", 0o644)

    def forget_proof(self, release: str) -> None:
        """Forget that a release was live: it was for a moment, in a rollout that was undone."""
        (self.release(release) / "proven").unlink(missing_ok=True)

    def mark_bad(self, release: str, reason: str) -> None:
        """Remember that a release must not be rolled back to, nor deployed again by accident."""
        if release in self.complete():
            write(self.release(release) / "bad", reason.strip() + "\n", 0o644)

    def marks(self) -> tuple[dict[str, float], dict[str, str]]:
        """Return when each release was proven last, and why each bad one is bad."""
        proven, bad = {}, {}
        for release in self.complete():
            with contextlib.suppress(OSError, ValueError):
                proven[release] = float((self.release(release) / "proven").read_text(encoding="utf-8"))
            with contextlib.suppress(OSError):
                bad[release] = (self.release(release) / "bad").read_text(encoding="utf-8").strip()
        return proven, bad

    def point_current(self, release: str) -> None:
        """Make a release the live one, by one rename(2): NGINX resolves the link at every connect."""
        beside = self.root / ".current.new"
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(f"releases/{release}")
        beside.rename(self.current)
        fsync_folder(self.root)

    def remove(self, release: str) -> None:
        """Delete a release, so that a half-deleted one never looks complete."""
        with contextlib.suppress(FileNotFoundError):
            (self.release(release) / "release.json").unlink()
        shutil.rmtree(self.release(release), ignore_errors=False)


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def holds(path: Path, content: bytes, mode: int, group: int = 0) -> bool:
    """Tell whether a file is just so."""
    with contextlib.suppress(OSError):
        found = path.lstat()  # a link is replaced, not followed
        return (
            path.read_bytes() == content
            and found.st_mode & 0o7777 == mode
            and (found.st_uid, found.st_gid) == (0, group)
        )
    return False


def write(path: Path, text: str | bytes, mode: int, group: int = 0) -> bool:
    """Put a file in place whole, by a rename. Returns whether anything changed."""
    content = text.encode() if isinstance(text, str) else text
    if holds(path, content, mode, group):
        return False
    stage(path, content, mode, group)
    put(path)
    return True


def stage(path: Path, text: str | bytes, mode: int, group: int = 0) -> None:
    """Write a file beside the place that `put` will put it in."""
    beside = _beside(path)
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        os.fchown(handle, 0, group)
        os.fchmod(handle, mode)
        file.flush()
        os.fsync(handle)


def put(path: Path) -> None:
    """Put in place what was staged, by a rename."""
    _beside(path).rename(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def pending(apps: Iterable[Mapping[str, t.Any]], states: Mapping[str, Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Tell which apps a host must still stage, and as which release.

    apps: what the pack action returned. states: what host_facts found, by app name.
    An app is done when the release of its digest is live, running and enabled. A release of this digest that
    lies there already (a run was interrupted, or it is an earlier one) is used again: the same input never
    makes a second release.
    """
    result = []
    for app in apps:
        state = states[app["name"]]
        same = [release for release in state["releases"] if digest_of(release) == app["digest"]]
        release = state["live"] if state["live"] in same else same[-1] if same else app["release"]
        if not (release == state["live"] and state["running"] and state["enabled"]):
            result.append(
                {
                    **app,
                    "release": release,
                    "live": release == state["live"],
                    "built": release in state["releases"],
                    "bad": state["bad"].get(release, ""),
                    "prepared": state["prepared"],
                }
            )
    return result


def prunable(complete: list[str], keep: int, protected: Iterable[str | None], bad: Collection[str] = ()) -> list[str]:
    """Choose the releases to delete beyond `keep`: bad ones first, then the oldest, never a protected one.

    protected: the live one, and those that run. A series of failures must not push out what can be gone back to.
    """
    spared = set(protected)
    others = sorted(
        (release for release in complete if release not in spared), key=lambda name: (name not in bad, name)
    )
    room = max(0, keep - len(set(complete) & spared))
    return others[: len(others) - room] if len(others) > room else []


class NoTargetError(ValueError):
    """There is nothing to roll back to; the message says why."""


def rollback_targets(state: Mapping[str, t.Any]) -> list[str]:
    """Return the releases that were live before and are not bad, the last one first. state: what host_facts found."""
    proven: Mapping[str, float] = state["proven"]
    good = (release for release in proven if release != state["live"] and release not in state["bad"])
    return sorted(good, key=lambda release: proven[release], reverse=True)


def rollback_target(name: str, state: Mapping[str, t.Any], wanted: str | None = None) -> str:
    """Choose the release that a rollback goes to: the one wanted, or the last that was live before this one.

    state: what host_facts found. A bad release is never chosen, nor one that never was live.
    Raises NoTargetError.
    """
    if wanted:
        if wanted == state["live"]:
            raise NoTargetError(f"app {name}: release {wanted} is live already")
        if wanted not in state["releases"]:
            there = ", ".join(state["releases"]) or "none"
            raise NoTargetError(f"app {name}: there is no release {wanted} on this host; it has {there}")
        if wanted in state["bad"]:
            raise NoTargetError(f"app {name}: release {wanted} is marked bad: {state['bad'][wanted]}")
        return wanted
    good = rollback_targets(state)
    if not good:
        raise NoTargetError(f"app {name}: there is no earlier good release on this host to go back to")
    return good[0]
