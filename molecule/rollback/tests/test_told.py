"""Who is told of a rollout, and what the hosts remember of it.

The tests build on each other. All that is sent arrives at a real receiver on the control node, or at none.
"""

import calendar
import getpass
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet, Played
from receiver import Receiver, receiving

APP: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"][0]
BOTH = ["debian12", "debian13"]
SECRET = "geheim"  # noqa: S105 - a test's
WHO = f"{getpass.getuser()}@{socket.gethostname()}"
CERTIFICATE = "/etc/ssl/paddock/notes.crt"

Log = list[dict[str, Any]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def version(number: int, **options: object) -> list[dict[str, Any]]:
    """Return the app as its release of that number; test_rollback.py has the numbers below 20."""
    return [{**APP, "env": {**APP["env"], "NOTES_UPLOAD_LIMIT": 1000 + number}, **options}]


def play(fleet: Fleet, receiver: Receiver, playbook: str, *arguments: str, **variables: Any) -> Played:
    """Run a playbook that tells one who wants all, one who reads Slack, and one who is dead."""
    token = {"Authorization": f"Bearer {SECRET}"}
    webhooks = [
        {"url": f"{receiver.url}/all/{SECRET}", "headers": token},
        {"url": f"{receiver.url}/slack/{SECRET}", "format": "slack", "on": ["failure", "rollback"]},
        {"url": f"http://127.0.0.1:9/{SECRET}", "headers": token, "timeout": 2},
    ]
    played = fleet.play(playbook, "-vvv", *arguments, fastapi_webhooks=webhooks, **variables)
    assert SECRET not in played.output
    return played


def live(fleet: Fleet) -> dict[str, str]:
    return {name: Path(target).name for name, target in fleet.each("readlink /srv/notes/current").items()}


def logs(fleet: Fleet) -> dict[str, Log]:
    texts = fleet.each("cat /srv/notes/rollouts.jsonl").items()
    return {name: [json.loads(line) for line in text.splitlines()] for name, text in texts}


def since(fleet: Fleet, before: dict[str, Log]) -> dict[str, Log]:
    return {name: log[len(before[name]) :] for name, log in logs(fleet).items()}


def warned(played: Played) -> bool:
    warning = "fastapi_webhooks[3] (http://127.0.0.1:9) was not told of the rollout of notes: Connection refused"
    return warning in " ".join(played.output.split())


def message_of(receiver: Receiver) -> tuple[dict[str, Any], list[str]]:
    """Return the one message of a rollout, and what Slack was told."""
    messages, texts = [], []
    for path, token, body in receiver.taken():
        if path == f"/slack/{SECRET}":
            assert (token, list(body)) == (None, ["text"])
            texts.append(body["text"])
        else:
            assert (path, token) == (f"/all/{SECRET}", f"Bearer {SECRET}")
            messages.append(body)
    assert len(messages) == 1
    message = messages[0]
    assert (message["version"], message["app"], message["by"]) == (1, "notes", WHO)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", message["time"])
    assert [host["host"] for host in message["hosts"]] == BOTH
    assert 0 < message["seconds"] < 300
    return message, texts


def test_a_deploy_that_ends_well(fleet: Fleet, receiver: Receiver) -> None:
    before, logged = live(fleet), logs(fleet)
    played = play(fleet, receiver, "deploy", fastapi_apps=version(20))
    assert played.code == 0
    assert warned(played)
    after = live(fleet)
    message, texts = message_of(receiver)
    assert texts == []
    assert (message["playbook"], message["result"], message["reason"]) == ("deploy", "success", "")
    assert {host["host"]: (host["from"], host["to"]) for host in message["hosts"]} == {
        name: (before[name], after[name]) for name in BOTH
    }
    assert message["to"] == after["debian12"] != before["debian12"]
    for name, entries in since(fleet, logged).items():
        (entry,) = entries
        assert 0 < entry.pop("seconds") < 300
        moment = calendar.timegm(time.strptime(entry.pop("time"), "%Y-%m-%dT%H:%M:%SZ"))
        assert abs(time.time() - moment) < 300
        assert entry == {
            "app": "notes",
            "playbook": "deploy",
            "event": "switched",
            "result": "success",
            "by": WHO,
            "release": after[name],
            "before": before[name],
            "reason": "",
        }
    assert set(fleet.each("stat -c '%U %G %a' /srv/notes/rollouts.jsonl").values()) == {"root root 640"}


def test_what_changes_nothing_is_no_news(fleet: Fleet, receiver: Receiver) -> None:
    logged = logs(fleet)
    for arguments, number in (([], 20), (["--check"], 21)):
        played = play(fleet, receiver, "deploy", *arguments, fastapi_apps=version(number))
        assert played.code == 0
        assert not warned(played)
    assert receiver.taken() == []
    assert since(fleet, logged) == {"debian12": [], "debian13": []}


def test_a_release_that_does_not_pass_its_gate(fleet: Fleet, receiver: Receiver) -> None:
    before, logged = live(fleet), logs(fleet)
    receiver.code = 500
    wrong = {**APP["health"], "json": {"status": "perfect"}, "timeout": 10}
    played = play(fleet, receiver, "deploy", fastapi_apps=version(22, health=wrong))
    receiver.code = 204
    assert played.code == 2
    assert warned(played)
    assert "fastapi_webhooks[1] (" in played.output
    assert "it answered 500" in " ".join(played.output.split())
    assert live(fleet) == before
    message, texts = message_of(receiver)
    assert (message["playbook"], message["result"]) == ("deploy", "failure")
    reason = "/readyz answered 200, but status in its JSON is "
    assert message["reason"].startswith(
        f"debian12: app notes: release {message['to']} is not healthy over its own socket: "
    )
    assert reason in message["reason"]
    assert len(texts) == 1
    assert texts[0].startswith(f"*notes*: the deploy of `{message['to']}` on 2 hosts failed after ")
    for entries in since(fleet, logged).values():
        (entry,) = entries
        assert (entry["event"], entry["result"], entry["playbook"]) == ("did not pass", "failure", "deploy")
        assert (entry["release"], entry["before"], entry["by"]) == (message["to"], message["from"], WHO)
        assert entry["reason"].startswith(reason)


def test_hosts_that_go_back_by_themselves(fleet: Fleet, receiver: Receiver) -> None:
    """One after the other: the first is switched, the second shows another certificate than it should."""
    before, logged = live(fleet), logs(fleet)
    host = fleet.hosts["debian13"]
    wrong = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -addext subjectAltName=DNS:notes.example.com"
    host.check_output(f"cp -p {CERTIFICATE} /root/kept.crt")
    host.check_output(f"{wrong} -keyout /dev/null -out {CERTIFICATE} 2>&1")
    try:
        played = play(fleet, receiver, "deploy", fastapi_apps=version(23), fastapi_serial=1)
    finally:
        host.check_output(f"mv /root/kept.crt {CERTIFICATE}")
    assert played.code == 2
    assert live(fleet) == before
    message, texts = message_of(receiver)
    assert (message["result"], message["from"]) == ("went back", before["debian12"])
    assert message["reason"].startswith("debian13: app notes: release ")
    assert len(texts) == 1
    assert f", and went back to `{before['debian12']}`\n> debian13: " in texts[0]
    found = since(fleet, logged)
    new = message["to"]
    assert [(entry["event"], entry["release"], entry["before"], entry["by"]) for entry in found["debian12"]] == [
        ("switched", new, before["debian12"], WHO),
        ("went back", before["debian12"], new, WHO),
    ]
    assert found["debian12"][1]["reason"] != ""
    # Not even where it was live for a moment is it what one goes back to.
    assert [host.run("test -e /srv/notes/releases/%s/proven", new).rc for host in fleet.hosts.values()] == [1, 1]
    assert [(entry["event"], entry["release"], entry["before"], entry["by"]) for entry in found["debian13"]] == [
        ("went back", before["debian13"], new, WHO)
    ]
    assert "CERTIFICATE_VERIFY_FAILED" in found["debian13"][0]["reason"]


def test_a_rollback(fleet: Fleet, receiver: Receiver) -> None:
    before, logged = live(fleet), logs(fleet)
    played = play(fleet, receiver, "rollback", fastapi_apps=version(20))
    assert played.code == 0
    assert warned(played)
    after = live(fleet)
    message, texts = message_of(receiver)
    assert (message["playbook"], message["result"]) == ("rollback", "success")
    assert [(host["from"], host["to"]) for host in message["hosts"]] == [(before[name], after[name]) for name in BOTH]
    assert len(texts) == 1
    # A host that had built it before its rollout was killed calls the same release by an earlier time.
    to = f"`{after['debian12']}`" if len(set(after.values())) == 1 else "several releases"
    assert texts[0].startswith(f"*notes*: rolled back to {to} on 2 hosts in ")
    for name, entries in since(fleet, logged).items():
        assert [(entry["event"], entry["release"], entry["before"], entry["playbook"]) for entry in entries] == [
            ("rolled back", after[name], before[name], "rollback")
        ]


def test_mistakes_are_found_before_any_host_is_asked(fleet: Fleet) -> None:
    wrong = [{"url": f"hooks.example.com/{SECRET}", "on": ["sucess"]}]
    for playbook in ("deploy", "rollback"):
        played = fleet.play(playbook, fastapi_apps=version(24), fastapi_webhooks=wrong)
        assert played.code == 2
        said = " ".join(played.output.split())
        assert "fastapi_webhooks[1].url: it is not a URL; write one such as https://hooks.example.com/rollouts" in said
        assert "fastapi_webhooks[1].on: 'sucess' is not known; did you mean 'success'?" in said
        assert SECRET not in played.output
        assert all(played.recap(name, "changed") == 0 for name in BOTH)


def test_status_shows_what_happened_last(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    fleet.play("status", fastapi_apps=version(20), format="json", output=str(file), fail_on="never")
    logged = logs(fleet)
    for host in json.loads(file.read_text())["hosts"]:
        found = host["apps"][0]
        log = logged[host["host"]]
        assert found["history"] == log[:-11:-1]
        assert found["last_event"] == log[-1]
        assert found["live"]["by"] == WHO
    played = fleet.play("status", fastapi_apps=version(20), fail_on="never")
    lines = [line.strip() for line in played.output.splitlines() if line.startswith("    history: ")]
    assert len(lines) == 3 * len(BOTH)
    assert re.fullmatch(rf"history: \S+Z rolled back to \S+ after \d+ s, by {WHO}", lines[0])


def test_the_log_outlives_the_app_unless_it_is_purged(fleet: Fleet) -> None:
    logged = logs(fleet)
    assert fleet.play("remove", app="notes", fastapi_apps=[]).code == 0
    assert set(fleet.each("ls /srv/notes").values()) == {"rollouts.jsonl\nshared"}
    assert logs(fleet) == logged
    assert fleet.play("remove", app="notes", fastapi_apps=[], purge=True).code == 0
    assert [host.run("test -e /srv/notes").rc for host in fleet.hosts.values()] == [1, 1]
