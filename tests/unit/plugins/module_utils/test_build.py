# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of building a release, with a uv that only notes what it is asked."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._build import Build, BuildError
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, created
from ansible_collections.paddock.fastapi.tests.unit.helpers import AS_ROOT, LIVE, NEW, OLD, Programs, release_folder

GROUP = 12345 if AS_ROOT else os.getgid()
SERVER = """\
click==8.5.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
gunicorn==27.0.1 --hash=sha256:cc
# a comment
uvicorn-worker==0.4.0 \\
    --hash=sha256:dd
"""
CREDENTIALS = {"token": "ge\r\nhéim\n", "api.key": "x"}
# Makes the environment as uv does, with what the test wants installed, and notes how it was called.
UV = """
case "$*" in
  *" venv "*)
    for last in "$@"; do :; done
    mkdir -p "$last/bin" "$last/lib/python3.11/site-packages"
    for info in $INSTALLED; do mkdir "$last/lib/python3.11/site-packages/$info.dist-info"; done
    printf '#!/bin/sh\\necho "python $*" >> {log}\\n' > "$last/bin/python"
    chmod 755 "$last/bin/python" ;;
esac
env | grep -E '^(UV_|HOME|LANG|HTTPS_PROXY|SECRET)' | sort > {variables}
pwd >> {folders}
case "$*" in *server-requirements.txt*) cp "$PWD/../server-requirements.txt" {chosen} ;; esac
{more}
"""


class Case:
    """A build that is ready to run."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self.programs = programs
        self.app = App("shop", folder / "srv/shop")
        self.app.releases.mkdir(parents=True)
        self.uv()
        (folder / "env").write_bytes(b'A="1\r\n2"\n')
        (folder / "credentials").write_text(json.dumps(CREDENTIALS))
        (folder / "server.txt").write_text(SERVER)
        source = folder / "source"
        (source / "shop").mkdir(parents=True)
        (source / "shop/main.py").write_text("app = None\n")
        (source / "tool").write_text("#!/bin/sh\n")
        (source / "tool").chmod(0o755)
        (source / "link").symlink_to("shop/main.py")
        with tarfile.open(folder / "archive.tar.gz", "w:gz") as archive:
            archive.add(source, ".")

    def uv(self, more: str = "", installed: str = "") -> None:
        paths = {name: self.folder / name for name in ("variables", "folders", "chosen")}
        script = UV.format(log=self.programs.log, more=more, **paths)
        self.programs.add("uv", f"INSTALLED='{installed}'\n{script}")

    def build(self, install: dict[str, t.Any] | None = None, index_url: str | None = None) -> Build:
        return Build(
            app=self.app,
            release=NEW,
            archive=self.folder / "archive.tar.gz",
            environment=self.folder / "env",
            credentials=self.folder / "credentials",
            added_requirements=[self.folder / "server.txt"],
            group=GROUP,
            uv=str(self.programs.folder / "uv"),
            cache=self.folder / "cache",
            python="python3.11",
            install=install or {"method": "requirements", "file": "requirements.txt", "hashed": True},
            index_url=index_url,
            extra_index_url=None,
            metadata={"app": "shop", "source": "test"},
        )

    @property
    def calls(self) -> list[str]:
        known = {str(self.app.release(NEW)): "RELEASE"}
        lines = [line.removeprefix("uv --no-progress --color never ") for line in self.programs.calls]
        for path, name in known.items():
            lines = [line.replace(path, name) for line in lines]
        return lines


@pytest.fixture
def case(tmp_path: Path, programs: Programs) -> Case:
    return Case(tmp_path, programs)


VENV = "venv --python python3.11 --prompt shop RELEASE/venv"
PIP = "pip install --python RELEASE/venv --compile-bytecode"
ADD = f"{PIP} --requirements RELEASE/server-requirements.txt --require-hashes --no-deps"
COMPILE = "python -m compileall -qq --invalidation-mode unchecked-hash ."


@pytest.mark.parametrize(
    ("install", "expected"),
    [
        (
            {"method": "uv.lock", "file": "uv.lock", "hashed": True},
            ["sync --locked --no-dev --no-editable --compile-bytecode --python python3.11"],
        ),
        ({"method": "requirements", "file": "r.txt", "hashed": True}, [f"{PIP} --requirements r.txt --require-hashes"]),
        ({"method": "requirements", "file": "pylock.toml", "hashed": False}, [f"{PIP} --requirements pylock.toml"]),
        ({"method": "project", "file": None, "hashed": False}, [f"{PIP} ."]),
        ({"method": "distribution", "distribution": "shop==1.0", "file": None, "hashed": False}, [f"{PIP} shop==1.0"]),
        (
            {"method": "distribution", "distribution": "./shop.whl", "file": "requirements.txt", "hashed": True},
            [f"{PIP} --requirements requirements.txt --require-hashes", f"{PIP} --no-deps ./shop.whl"],
        ),
    ],
)
def test_steps_in_order(case: Case, install: dict[str, t.Any], expected: list[str]) -> None:
    case.build(install).run()
    assert case.calls == [VENV, *expected, ADD, COMPILE]
    assert set((case.folder / "folders").read_text().splitlines()) == {str(case.app.release(NEW) / "src")}


def test_a_release_as_the_app_and_nginx_find_it(case: Case) -> None:
    (case.folder / "srv/shop").chmod(0o755)
    before = os.umask(0o077)
    try:
        case.build().run()
    finally:
        os.umask(before)
    folder = case.app.release(NEW)
    modes = {
        name: (folder / name).stat().st_mode & 0o7777
        for name in (
            ".",
            "env",
            "credentials",
            "credentials/token",
            "src",
            "src/shop",
            "src/shop/main.py",
            "src/tool",
            "venv",
            "release.json",
        )
    }
    assert modes == {
        ".": 0o751,
        "env": 0o600,
        "credentials": 0o700,
        "credentials/token": 0o600,
        "src": 0o750,
        "src/shop": 0o750,
        "src/shop/main.py": 0o640,
        "src/tool": 0o750,
        "venv": 0o750,
        "release.json": 0o640,
    }
    assert (folder / "env").read_bytes() == b'A="1\r\n2"\n'
    kept = {path.name: path.read_bytes().decode() for path in (folder / "credentials").iterdir()}
    assert kept == CREDENTIALS
    assert (folder / "src/link").readlink() == Path("shop/main.py")
    assert (folder / "src/shop/main.py").stat().st_mtime == created(NEW)
    owned = [folder, *(folder / name for name in modes if not name.startswith(("env", "cred")))]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in owned} == {(os.geteuid(), GROUP)}
    assert case.app.complete() == [NEW]


def test_owners_and_modes_do_not_depend_on_the_version_of_python(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python 3.14 filters by default; what has no filters, such as Debian 12's Python, has none to be set here either.
    if data_filter := getattr(tarfile, "data_filter", None):
        monkeypatch.setattr(tarfile.TarFile, "extraction_filter", staticmethod(data_filter))
    case.build().run()
    found = (case.app.release(NEW) / "src/shop").stat()
    assert (found.st_mode & 0o7777, found.st_gid) == (0o750, GROUP)


def test_an_sdk_beside_an_api_of_another_version(case: Case) -> None:
    """The build says what to do, before anything that does not fit is installed."""
    tracing = case.folder / "tracing.txt"
    tracing.write_text("opentelemetry-api==1.45.2 \\\n    --hash=a\nopentelemetry-sdk==1.45.2 \\\n    --hash=b\n")

    def build() -> None:
        made = case.build()
        made.added_requirements = [case.folder / "server.txt", tracing]
        made.run()

    case.uv(installed="opentelemetry_api-1.44.0")
    with pytest.raises(BuildError) as caught:
        build()
    assert str(caught.value) == (
        "tracing would add opentelemetry-sdk 1.45.2, and the app has opentelemetry-api 1.44.0; add opentelemetry-sdk "
        "and opentelemetry-exporter-otlp-proto-http to its requirements, or pin opentelemetry-api==1.45.2 there"
    )
    assert case.app.complete() == []
    for fits in ("opentelemetry_api-1.45.2", "opentelemetry_api-1.44.0 opentelemetry_sdk-1.44.0", ""):
        case.uv(installed=fits)
        build()
        shutil.rmtree(case.app.release(NEW))


def test_the_record(case: Case) -> None:
    case.uv(installed="fastapi-0.120.0 Jinja2-3.1.6 uvicorn_worker-0.4.0")
    build = case.build()
    build.run()
    record = json.loads((case.app.release(NEW) / "release.json").read_text())
    assert record["packages"] == {"fastapi": "0.120.0", "jinja2": "3.1.6", "uvicorn-worker": "0.4.0"}
    assert (record["app"], record["source"], record["size_mb"]) == ("shop", "test", 1)
    assert list(record["seconds"]) == ["compile", "environment", "unpack"]
    assert list(build.seconds) == ["unpack", "environment", "compile", "finish"]


@pytest.mark.parametrize(
    ("installed", "added"),
    [
        ("", ["click", "gunicorn", "uvicorn-worker"]),
        ("gunicorn-23.0.0", ["click", "uvicorn-worker"]),
        ("Click-8.0 uvicorn_worker-0.3.0", ["gunicorn"]),
        ("click-8.5.1 gunicorn-27.0.1 uvicorn_worker-0.4.0 other-1", []),
    ],
)
def test_only_missing_server_packages_are_added(case: Case, installed: str, added: list[str]) -> None:
    case.uv(installed=installed)
    case.build().run()
    chosen = case.folder / "chosen"
    text = chosen.read_text() if chosen.exists() else ""
    assert [line.partition("==")[0] for line in text.splitlines() if "==" in line] == added
    assert ("    --hash=sha256:bb" in text) == ("click" in added), "all hashes of a package go with it"
    assert (ADD in case.calls) == bool(added)


def test_the_variables_of_uv(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("UV_CACHE_DIR", "/elsewhere")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("SECRET", "1")
    case.build(index_url="https://index.example.com/simple").run()
    assert (case.folder / "variables").read_text().splitlines() == [
        "HOME=/root",
        "HTTPS_PROXY=http://proxy.example.com:3128",
        "LANG=C.UTF-8",
        f"UV_CACHE_DIR={case.folder}/cache",
        "UV_DEFAULT_INDEX=https://index.example.com/simple",
        "UV_HTTP_RETRIES=4",
        "UV_LINK_MODE=hardlink",
        "UV_NO_MANAGED_PYTHON=1",
        f"UV_PROJECT_ENVIRONMENT={case.app.release(NEW)}/venv",
        "UV_PYTHON_DOWNLOADS=never",
        "UV_SYSTEM_CERTS=1",
    ]
    assert (case.folder / "cache").stat().st_mode & 0o7777 == 0o700


def test_without_an_index_uv_has_its_own(case: Case) -> None:
    case.build().run()
    assert "UV_DEFAULT_INDEX" not in (case.folder / "variables").read_text()


FAILURES: list[tuple[str, str]] = [
    (
        'case "$*" in *" install "*) echo "Using Python 3.11"; echo "error: Failed to fetch: x" >&2; exit 2;; esac',
        "the release cannot be built: uv --no-progress --color never pip install failed\n"
        "Hint: the package index is not reachable from the host: check its network, proxy and index_url.\n"
        "Its last lines:\n"
        "  error: Failed to fetch: x",
    ),
    (
        'case "$*" in *" venv "*) i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo "line $i"; done; exit 1;; esac',
        "the release cannot be built: uv --no-progress --color never venv --python failed\nIts last lines:\n"
        + "\n".join(f"  line {number}" for number in range(21, 51)),
    ),
]


@pytest.mark.parametrize(("script", "message"), FAILURES)
def test_a_failed_step_says_why_and_leaves_nothing(case: Case, script: str, message: str) -> None:
    release_folder(case.app.root, LIVE)
    case.uv(more=script)
    with pytest.raises(BuildError) as caught:
        case.build().run()
    assert str(caught.value) == message
    assert os.listdir(case.app.releases) == [LIVE]


def test_a_file_that_does_not_compile_may_be_a_template_of_one(case: Case) -> None:
    case.uv(
        more='case "$*" in *install*) printf \'#!/bin/sh\\necho "*** Error compiling src/a.py"; exit 1\' '
        f"> {case.app.release(NEW)}/venv/bin/python;; esac"
    )
    case.build().run()
    assert case.app.complete() == [NEW]


def test_a_host_without_uv(case: Case) -> None:
    build = case.build()
    build.uv = "/nonexistent/uv"
    with pytest.raises(BuildError, match=r"step environment failed: .*No such file or directory: '/nonexistent/uv'"):
        build.run()
    assert os.listdir(case.app.releases) == []


def test_a_killed_build_leaves_nothing_either(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_build: Build) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Build, "_compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        case.build().run()
    assert os.listdir(case.app.releases) == []


@pytest.mark.parametrize("size", [0, 100])
def test_a_broken_archive(case: Case, size: int) -> None:
    path = case.folder / "archive.tar.gz"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BuildError, match="the release cannot be built: step unpack failed"):
        case.build().run()
    assert os.listdir(case.app.releases) == []


def test_a_disk_that_fills_up_meanwhile(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: t.Any, **_options: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    with pytest.raises(BuildError) as caught:
        case.build().run()
    assert str(caught.value).splitlines()[:2] == [
        "the release cannot be built: step unpack failed: [Errno 28] No space left on device",
        "Hint: the disk is full: free space, or lower keep_releases.",
    ]
    assert os.listdir(case.app.releases) == []


@pytest.mark.parametrize(("last", "needed"), [(None, 64), (1, 65), (300, 364)])
def test_a_disk_that_is_too_full(case: Case, monkeypatch: pytest.MonkeyPatch, last: int | None, needed: int) -> None:
    if last:
        release_folder(case.app.root, OLD)
        (release_folder(case.app.root, LIVE) / "release.json").write_text(json.dumps({"size_mb": last}))
    usage = type(shutil.disk_usage("/"))

    def free(megabytes: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(2**40, 2**40, megabytes * 2**20))

    free(needed - 1)
    with pytest.raises(BuildError) as caught:
        case.build().run()
    assert str(caught.value) == (
        f"the disk is too full for a release: {case.app.releases} has {needed - 1} MiB free, {needed} MiB are needed; "
        "free space, or lower keep_releases"
    )
    assert case.calls == ["cache clean"]
    # On another disk it is not what takes the room.
    monkeypatch.setattr(Build, "_shares_disk", lambda _build: False)
    with pytest.raises(BuildError):
        case.build().run()
    free(needed)
    case.build().run()
    assert case.calls.count("cache clean") == 1


@pytest.mark.parametrize(("answer", "built"), [("exit 0", True), ("exit 1", False)])
def test_the_cache_goes_before_a_release_cannot_come(
    case: Case, monkeypatch: pytest.MonkeyPatch, answer: str, *, built: bool
) -> None:
    case.uv(f"case $* in *'cache clean') touch {case.folder}/emptied; {answer} ;; esac")
    usage = type(shutil.disk_usage("/"))
    emptied = case.folder / "emptied"
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _path: usage(2**40, 2**40, 2**40 if built and emptied.exists() else 0)
    )
    if built:
        case.build().run()
        assert case.calls[:2] == ["cache clean", VENV]
    else:
        with pytest.raises(BuildError, match="has 0 MiB free"):
            case.build().run()


def test_what_an_interrupted_build_left_is_cleared_first(case: Case) -> None:
    (release_folder(case.app.root, NEW, complete=False) / "half").touch()
    release_folder(case.app.root, OLD, complete=False)
    (case.app.releases / "lost+found").mkdir()
    (case.app.releases / "notes").touch()
    case.build().run()
    assert sorted(os.listdir(case.app.releases)) == [NEW, "lost+found", "notes"]
    assert not (case.app.release(NEW) / "half").exists()


def test_nginx_may_read_static_files_and_nothing_beside_them(case: Case) -> None:
    build = case.build()
    build.static = ["shop/static"]
    for name in ("shop/static/css/a.css", "shop/main.py"):
        path = build.folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o640)
    for folder in ("", "shop", "shop/static", "shop/static/css"):
        (build.folder / "src" / folder).chmod(0o750)
    (build.folder / "src/shop/static/link").symlink_to("../main.py")
    build._publish()  # noqa: SLF001
    modes = {str(path.relative_to(build.folder)): path.stat().st_mode & 0o777 for path in build.folder.rglob("*")}
    assert modes == {
        "src": 0o751,
        "src/shop": 0o751,
        "src/shop/main.py": 0o640,
        "src/shop/static": 0o755,
        "src/shop/static/css": 0o755,
        "src/shop/static/css/a.css": 0o644,
        "src/shop/static/link": 0o640,
    }


@pytest.mark.parametrize("static", ["gone", "main.py", "outside"])
def test_static_files_that_are_not_there(case: Case, static: str) -> None:
    build = case.build()
    build.static = [static]
    source = build.folder / "src"
    source.mkdir(parents=True)
    (source / "main.py").touch()
    (source / "outside").symlink_to("/etc")
    with pytest.raises(BuildError) as caught:
        build._publish()  # noqa: SLF001
    assert str(caught.value).startswith(f"the source has no folder {static!r} to serve")
