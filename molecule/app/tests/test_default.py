"""Releases as root, the app's user and everybody else find them. Nothing runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from testinfra.host import Host

APPS = ["notes", "witness"]
STAPLE = "correct horse battery staple"
SERVER = Path(__file__).parents[3] / "roles/app/files/server-requirements.txt"
IMPORTS = {"notes": "notes.main", "witness": "witness"}


class App:
    """An app on a host, and its newest release."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self.releases = host.check_output("ls /srv/%s/releases", name).split()
        self.folder = f"/srv/{name}/releases/{self.releases[-1]}"

    def stat(self, path: str) -> str:
        """Return owner, group and mode."""
        return str(self.host.check_output("stat --format '%%U %%G %%a' %s", path))

    def run_as(self, user: str, command: str) -> tuple[int, str]:
        """Run a command in the release's source as somebody."""
        done = self.host.run("cd / && runuser -u %s -- sh -c %s", user, f"cd {self.folder}/src; {command}")
        return done.rc, done.stdout.strip()


@pytest.fixture(params=APPS)
def app(host: Host, request: pytest.FixtureRequest) -> App:
    return App(host, request.param)


def test_what_differs_in_settings_is_another_release(app: App) -> None:
    assert [bool(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{12}", release)) for release in app.releases] == [True, True]
    assert len({release.rpartition("-")[2] for release in app.releases}) == 2


def test_a_release_belongs_to_root(app: App) -> None:
    user = app.name
    assert app.stat(app.folder) == f"root {user} 751"
    assert app.stat(f"{app.folder}/src") == f"root {user} 750"
    assert app.stat(f"{app.folder}/venv") == f"root {user} 750"
    assert app.stat(f"{app.folder}/env") == "root root 600"
    assert app.stat(f"{app.folder}/release.json") == f"root {user} 640"
    assert app.host.check_output("find /srv/%s/releases ! -user root", app.name) == ""
    assert app.host.check_output("find /srv/%s/releases ! -type l -perm /022", app.name) == ""


def test_the_app_cannot_write_to_its_release(app: App) -> None:
    # The credentials are in a directory that only root may even look into.
    find = "find /srv/$(id -un)/releases -type d ! -readable -prune -o -writable -print"
    assert app.run_as(app.name, find) == (0, "")
    assert app.run_as(app.name, "touch trial")[0] != 0


def test_the_app_can_write_to_what_survives(app: App) -> None:
    assert app.stat(f"/srv/{app.name}/shared") == f"{app.name} {app.name} 750"
    assert app.run_as(app.name, "cd ../../../shared && touch trial && rm trial && pwd") == (
        0,
        f"/srv/{app.name}/shared",
    )


def test_only_root_can_read_the_environment(app: App) -> None:
    for user in (app.name, "nobody"):
        assert app.run_as(user, "cat ../env")[0] != 0
    assert "DATABASE_URL" in app.host.check_output("cat %s/env", app.folder) or app.name == "witness"


def test_nobody_else_can_read_the_code(app: App) -> None:
    strangers = {"notes": "witness", "witness": "notes"}
    for user in ("nobody", strangers[app.name]):
        assert app.host.run("cd / && runuser -u %s -- ls %s/src", user, app.folder).rc != 0
        assert app.host.run("cd / && runuser -u %s -- ls /srv/%s/shared", user, app.name).rc != 0


def test_the_app_can_be_imported_by_its_user(app: App) -> None:
    command = f"../venv/bin/python -c 'import {IMPORTS[app.name]} as app; print(callable(app.app), app.__cached__)'"
    code, printed = app.run_as(app.name, command)
    assert code == 0
    # From byte code that is there already: the app could not write it.
    assert printed.startswith(f"True {app.folder}/src/")
    assert app.host.check_output("test -e %s && echo there", printed.split()[1]) == "there"


def test_the_server_packages_are_as_pinned(app: App) -> None:
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", SERVER.read_text(encoding="utf-8"), re.MULTILINE))
    listed = app.host.check_output("/opt/paddock/uv/bin/uv pip list --quiet --format json --python %s/venv", app.folder)
    found = {package["name"]: package["version"] for package in json.loads(listed)}
    assert {"gunicorn", "uvicorn", "uvicorn-worker", "uvloop", "httptools"} <= pinned.keys()
    own = {"idna", "anyio", "typing-extensions", "click", "h11", "packaging"} if app.name == "notes" else set()
    assert {name: found[name] for name in pinned.keys() - own} == {name: pinned[name] for name in pinned.keys() - own}


def test_a_release_tells_what_it_was_made_of(app: App) -> None:
    record = json.loads(app.host.check_output("cat %s/release.json", app.folder))
    assert record["id"] == app.releases[-1]
    assert record["app"] == app.name
    assert record["kind"] == "directory"
    assert "uvloop" in record["packages"]


def test_nothing_is_live_and_nothing_runs(app: App) -> None:
    assert app.host.run("test -e /srv/%s/current", app.name).rc == 1
    assert app.host.check_output("systemctl list-units --all --plain --no-legend '%s@*'", app.name) == ""


def test_its_user_cannot_log_in(app: App) -> None:
    entry = app.host.check_output("getent passwd %s", app.name).split(":")
    assert entry[5:] == [f"/srv/{app.name}", "/usr/sbin/nologin"]
    assert int(entry[2]) < 1000
    assert app.host.check_output("passwd --status %s", app.name).split()[1] == "L"


def test_every_host_migrates_a_database_of_its_own(host: Host) -> None:
    script = (
        "import sqlite3; print(*sqlite3.connect('/srv/notes/shared/notes.db').execute('select count(*) from notes'))"
    )
    assert host.check_output("python3 -c %s", script) == "(0,)"
    assert host.check_output("stat --format %U /srv/notes/shared/notes.db") == "notes"


def test_only_the_first_host_migrates_a_database_that_is_shared(host: Host, name: str) -> None:
    migrated = host.run("cat /srv/witness/shared/migrated")
    assert migrated.stdout.strip() == ("witness" if name == "debian12" else "")


def test_a_secret_is_in_one_file_alone(host: Host) -> None:
    found = host.check_output("grep --recursive --files-with-matches %s /srv /etc /var/log /opt /root || true", STAPLE)
    assert {Path(path).name for path in found.split()} == {"env"}
    assert len(found.split()) == 2
    assert host.check_output("journalctl --no-pager | grep --count %s || true", STAPLE) == "0"


def test_the_cache_is_where_it_was_asked_for(host: Host) -> None:
    assert host.check_output("stat --format '%U %a' /var/cache/other/uv") == "root 700"
