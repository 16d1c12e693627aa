"""What a user has after `site`, a run that changed nothing, and a `deploy` of a change."""

import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from fleet import Fleet
from testinfra.host import Host

APPS = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"]
CHANGED = [{**app, "source": f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/changed_app"} for app in APPS]


def ask(host: Host, path: str, *options: str, name: str = "notes.example.com") -> str:
    """Ask the app through NGINX, trusting exactly the certificate that the host made."""
    command = (
        f"curl -sS --max-time 10 --cacert /etc/ssl/paddock/notes.crt --connect-to ::127.0.0.1: {' '.join(options)}"
    )
    return host.check_output(f"{command} https://{name}{path}")


def live(host: Host) -> str:
    return Path(host.check_output("readlink /srv/notes/current")).name


def running(host: Host) -> set[str]:
    """Return the releases of which anything is still there: a service, though it is stopping, or a socket."""
    listed = host.check_output("systemctl list-units --plain --no-legend --state=active,deactivating 'notes@*'")
    return set(re.findall(r"notes@(\S+)\.(?:service|socket)", listed))


def test_the_changed_app_is_live(host: Host) -> None:
    assert json.loads(ask(host, "/openapi.json"))["info"]["title"] == "Changed notes"


def test_whoami_names_the_live_release_and_the_real_client(host: Host) -> None:
    answer = json.loads(ask(host, "/whoami", "-H 'X-Forwarded-For: 192.0.2.1'", name="www.notes.example.com"))
    assert answer["release"] == live(host)
    assert (answer["scheme"], answer["client"]) == ("https", "127.0.0.1")
    assert answer["host"] == "www.notes.example.com"


def test_both_releases_are_there_and_the_later_is_live(host: Host) -> None:
    releases = sorted(host.check_output("ls /srv/notes/releases").split())
    assert len(releases) == 2
    assert live(host) == releases[-1]


def test_the_old_instance_is_gone_after_its_standby(host: Host) -> None:
    deadline = time.monotonic() + 20
    while running(host) != {live(host)} and time.monotonic() < deadline:
        time.sleep(0.5)
    assert running(host) == {live(host)}
    sockets = host.check_output("ls /srv/notes/releases/*/app.sock").split()
    assert sockets == [f"/srv/notes/releases/{live(host)}/app.sock"]


def test_only_the_live_instance_comes_up_at_boot(host: Host) -> None:
    enabled = set(re.findall(r"notes@(\S+)\.(?:service|socket)", host.check_output("ls /etc/systemd/system/*.wants")))
    assert enabled == {live(host)}


def test_notes_survive_in_the_shared_folder(host: Host) -> None:
    note = json.loads(ask(host, "/notes", '--json \'{"title": "kept"}\''))
    assert json.loads(ask(host, f"/notes/{note['id']}"))["title"] == "kept"
    assert host.check_output("stat --format '%U %G %a' /srv/notes/shared/notes.db") == "notes notes 640"


def test_plain_http_is_sent_to_https(host: Host) -> None:
    answer = host.check_output(
        "curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: notes.example.com' http://127.0.0.1/x?y=1"
    )
    assert answer == "308 https://notes.example.com/x?y=1"


@pytest.mark.parametrize(
    ("playbook", "most"), [pytest.param("deploy", 5, id="deploy"), pytest.param("site", 30, id="site")]
)
def test_a_run_without_a_change_is_short(fleet: Fleet, playbook: str, most: int) -> None:
    played = fleet.play(playbook, fastapi_apps=CHANGED)
    assert played.code == 0, played.output
    for name in fleet.hosts:
        assert played.recap(name, "changed") == 0, played.output
        assert played.recap(name, "ok") <= most, played.output


def test_a_new_release_takes_few_tasks(fleet: Fleet) -> None:
    before = fleet.each("readlink /srv/notes/current")
    settings = [{**app, "env": {**app["env"], "NOTES_UPLOAD_LIMIT": 4096}} for app in CHANGED]
    played = fleet.play("deploy", fastapi_apps=settings)
    assert played.code == 0, played.output
    for name in fleet.hosts:
        assert played.recap(name, "ok") <= 12, played.output
    after = fleet.each("readlink /srv/notes/current")
    assert all(after[name] != before[name] for name in before)


def test_going_back_to_the_same_input_makes_no_release(fleet: Fleet) -> None:
    releases = fleet.each("ls /srv/notes/releases")
    played = fleet.play("deploy", fastapi_apps=CHANGED)
    assert played.code == 0, played.output
    assert fleet.each("ls /srv/notes/releases") == releases
    for host in fleet.hosts.values():
        assert json.loads(ask(host, "/openapi.json"))["info"]["title"] == "Changed notes"
        assert json.loads(ask(host, "/whoami"))["release"] == live(host)
