# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a release: sources in place, a virtual environment from what is pinned, byte code, and a record of it.

Standard library only, because it runs on the target. uv does the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tarfile
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._hints import report
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, created, write

# What a release takes beside a copy of the last one: byte code, uv's temporary files.
DISK_MARGIN_MB = 64


class BuildError(RuntimeError):
    """The release cannot be built; the message says why first."""


@dataclass
class Build:
    """One release to be built. Paths are on this host."""

    app: App
    release: str
    archive: Path
    environment: Path
    # Texts by name, as JSON.
    credentials: Path
    # What is added to the app's own packages, each exactly as the collection pins it.
    added_requirements: Sequence[Path]
    group: int
    uv: str
    cache: Path
    python: str
    install: Mapping[str, t.Any]
    index_url: str | None
    extra_index_url: str | None
    metadata: dict[str, t.Any]
    # Folders of the source that NGINX serves.
    static: Sequence[str] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the release."""
        return self.app.release(self.release)

    @property
    def venv(self) -> Path:
        """Folder of its virtual environment."""
        return self.folder / "venv"

    def run(self) -> None:
        """Build it. Whatever stands in the way of it is cleared first; a failure leaves nothing behind."""
        for left in self.app.unfinished():
            shutil.rmtree(self.app.releases / left)
        self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_disk()
        try:
            self._timed("unpack", self._unpack)
            self._timed("environment", self._make_environment)
            self._timed("compile", self._compile)
            self._publish()
            self._timed("finish", self._finish)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _timed(self, name: str, step: t.Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            step()
        except (OSError, EOFError, tarfile.TarError) as error:
            raise BuildError(
                report(f"the release cannot be built: step {name} failed: {error}", [str(error)], "What happened")
            ) from error
        self.seconds[name] = round(time.monotonic() - started, 2)

    def _check_disk(self) -> None:
        """Fail before anything is written when a release like the last one would not fit.

        Before it comes to that, uv's cache goes, which nobody else would ever empty: what releases have of it stays
        theirs, and the rest can be fetched again.
        """
        last = self.app.complete()[-1:]
        size = self.app.metadata(last[0]).get("size_mb", 0) if last else 0
        needed = size + self.archive.stat().st_size * 4 // 2**20 + DISK_MARGIN_MB
        free = self._free_mb()
        if free < needed and self._shares_disk():
            with contextlib.suppress(BuildError):  # then there is as little room as before
                self._uv("cache", "clean")
            free = self._free_mb()
        if free < needed:
            raise BuildError(
                f"the disk is too full for a release: {self.app.releases} has {free} MiB free, "
                f"{needed} MiB are needed; free space, or lower keep_releases"
            )

    def _free_mb(self) -> int:
        return shutil.disk_usage(self.app.releases).free // 2**20

    def _unpack(self) -> None:
        self.folder.mkdir(mode=0o700)
        source = self.folder / "src"
        source.mkdir()
        made = created(self.release)
        with tarfile.open(self.archive) as archive:
            # Python 3.14 would drop owners and modes; the archive is ours, and its members are set right here.
            archive.extraction_filter = lambda member, _path: member
            for member in archive.getmembers():
                # The app's group may read its code and nobody else; only root may change it.
                member.uid, member.gid, member.uname, member.gname = 0, self.group, "", ""
                # One time for all: entity tags are made of it, so it must differ between releases, not between hosts.
                member.mtime = made
                member.mode = 0o750 if member.isdir() or member.mode & 0o100 else 0o640
                archive.extract(member, source, numeric_owner=True)
        os.chown(source, 0, self.group)
        source.chmod(0o750)
        write(self.folder / "env", self.environment.read_bytes().decode(), 0o600)
        # Folder and files are root's alone: systemd hands each running instance a copy.
        kept = self.app.credentials(self.release)
        kept.mkdir(mode=0o700)
        for name, text in json.loads(self.credentials.read_text(encoding="utf-8")).items():
            write(kept / name, text, 0o600)

    def _make_environment(self) -> None:
        self._uv("venv", "--python", self.python, "--prompt", self.app.name, str(self.venv))
        method, name = self.install["method"], self.install.get("file")
        hashes = ["--require-hashes"] if self.install.get("hashed") else []
        if method == "uv.lock":
            self._uv("sync", "--locked", "--no-dev", "--no-editable", "--compile-bytecode", "--python", self.python)
        elif method == "requirements":
            self._pip("--requirements", str(name), *hashes)
        elif method == "project":
            self._pip(".")
        else:  # a distribution, from a file or the index, with its dependencies pinned if there is a file for them
            if name:
                self._pip("--requirements", str(name), *hashes)
            self._pip(*(["--no-deps"] if name else []), self.install["distribution"])
        self._add_server()

    def _add_server(self) -> None:
        """Add the packages of the server and of what is observed that the app did not pin itself."""
        present = self.packages()
        wanted = "\n".join(file.read_text(encoding="utf-8") for file in self.added_requirements)
        blocks = re.findall(r"^[a-z0-9].*(?:\n[ \t]+.*)*", wanted, re.MULTILINE | re.IGNORECASE)
        missing = [block for block in blocks if _name(block) not in present]
        _check_one_opentelemetry(present, missing)
        if missing:
            chosen = self.folder / "server-requirements.txt"
            chosen.write_text("\n".join(missing) + "\n", encoding="utf-8")
            self._pip("--requirements", str(chosen), "--require-hashes", "--no-deps")

    def packages(self) -> dict[str, str]:
        """List what is installed: versions by normalized name."""
        found: dict[str, str] = {}
        for site in self.venv.glob("lib/python3*/site-packages"):
            for info in site.glob("*.dist-info"):
                name, _dash, version = info.name.removesuffix(".dist-info").rpartition("-")
                found[_name(name)] = version
        return found

    def _compile(self) -> None:
        """Compile the sources: the app may not write, so it could never do so itself.

        A file that does not compile, such as a template of one, is nobody's problem unless it is imported.
        """
        command = [
            str(self.venv / "bin/python"),
            "-m",
            "compileall",
            "-qq",
            "--invalidation-mode",
            "unchecked-hash",
            ".",
        ]
        run(command, cwd=self.folder / "src", env=self._variables())

    def _publish(self) -> None:
        """Let NGINX read the static files, and nothing beside them."""
        source = self.folder / "src"
        for name in self.static:
            folder = source / name
            if not folder.is_dir() or not folder.resolve().is_relative_to(source.resolve()):
                raise BuildError(f"the source has no folder {name!r} to serve; correct static, relative to the source")
            for parent in (folder, *folder.parents):
                if not parent.is_relative_to(source):
                    break
                parent.chmod(parent.stat().st_mode | 0o001)
            for path in (folder, *folder.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() else 0o644)

    def _finish(self) -> None:
        # uv's, which anyone may write to; nothing is ever installed here again.
        (self.venv / ".lock").unlink(missing_ok=True)
        for path in (self.venv, *(self.folder / "src").rglob("__pycache__")):
            os.chown(path, 0, self.group)
            path.chmod(0o750)
        # NGINX must reach the socket, so others may pass; nothing in here is theirs to read.
        os.chown(self.folder, 0, self.group)
        self.folder.chmod(0o751)
        record = {
            **self.metadata,
            "packages": dict(sorted(self.packages().items())),
            "size_mb": _size_mb(self.folder),
            "seconds": self.seconds,
        }
        write(self.folder / "release.json", json.dumps(record, indent=2, sort_keys=True) + "\n", 0o640, self.group)

    def _pip(self, *arguments: str) -> None:
        self._uv("pip", "install", "--python", str(self.venv), "--compile-bytecode", *arguments)

    def _uv(self, *arguments: str) -> None:
        self._call([self.uv, "--no-progress", "--color", "never", *arguments])

    def _call(self, command: Sequence[str]) -> None:
        done = run(
            command,
            cwd=self.folder / "src" if (self.folder / "src").is_dir() else self.app.releases,
            env=self._variables(),
        )
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if "Using Python" not in line]
            step = " ".join(Path(word).name if word.startswith("/") else word for word in command[:6])
            raise BuildError(report(f"the release cannot be built: {step} failed", lines[-30:], "Its last lines"))

    def _variables(self) -> dict[str, str]:
        variables = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "UV_CACHE_DIR": str(self.cache),
            "UV_PROJECT_ENVIRONMENT": str(self.venv),
            # The host's interpreter and its certificate store are the administrator's to choose.
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_MANAGED_PYTHON": "1",
            "UV_SYSTEM_CERTS": "1",
            # A connection that breaks for a moment must not fail a rollout.
            "UV_HTTP_RETRIES": "4",
            "UV_LINK_MODE": self._link_mode(),
        }
        if self.index_url:
            variables["UV_DEFAULT_INDEX"] = self.index_url
        if self.extra_index_url:
            variables["UV_INDEX"] = self.extra_index_url
        proxies = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
        return variables | {name: os.environ[name] for name in proxies if name in os.environ}

    def _link_mode(self) -> str:
        """Share files with the cache where that can be; releases and cache are root's alone."""
        return "hardlink" if self._shares_disk() else "copy"

    def _shares_disk(self) -> bool:
        return self.cache.stat().st_dev == self.app.releases.stat().st_dev


def _name(requirement: str) -> str:
    """Normalize a distribution's name (PEP 503)."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group(0)).lower() if found else ""


def _size_mb(folder: Path) -> int:
    total = sum(path.lstat().st_blocks for path in folder.rglob("*")) * 512
    return -(-total // 2**20)


def _check_one_opentelemetry(present: Mapping[str, str], missing: Sequence[str]) -> None:
    """Refuse an SDK beside an API of another version: they are released together, and only fit together."""
    api = present.get("opentelemetry-api")
    sdk = next((block for block in missing if _name(block) == "opentelemetry-sdk"), None)
    version = re.search(r"==([^\s;\\]+)", sdk or "")
    if api and version and api != version.group(1):
        raise BuildError(
            f"tracing would add opentelemetry-sdk {version.group(1)}, and the app has opentelemetry-api {api}; add "
            "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http to its requirements, "
            f"or pin opentelemetry-api=={version.group(1)} there"
        )
