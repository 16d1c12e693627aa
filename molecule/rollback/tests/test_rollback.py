"""Going back, and rollouts that meet or die.

The tests build on each other.
"""

import json
import re
import signal
from pathlib import Path
from typing import Any

import yaml
from fleet import Fleet
from testinfra.host import Host

APP: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"][0]


def version(number: int, **options: object) -> list[dict[str, Any]]:
    """Return the app as its release of that number."""
    return [{**APP, "env": {**APP["env"], "NOTES_UPLOAD_LIMIT": 1000 + number}, **options}]


def live(fleet: Fleet) -> dict[str, str]:
    return {name: Path(target).name for name, target in fleet.each("readlink /srv/notes/current").items()}


def answering(host: Host) -> str:
    """Return the release that answers the public."""
    command = "curl -sS --max-time 10 --cacert /etc/ssl/paddock/notes.crt --connect-to ::127.0.0.1:"
    return str(json.loads(host.check_output(f"{command} https://notes.example.com/whoami"))["release"])


def serves(fleet: Fleet, expected: dict[str, str]) -> None:
    """Check that each host serves that release, and that only it comes up at boot."""
    assert live(fleet) == expected
    for name, host in fleet.hosts.items():
        assert answering(host) == expected[name]
        enabled = host.check_output("ls /etc/systemd/system/multi-user.target.wants")
        assert re.findall(r"notes@(\S+)\.service", enabled) == [expected[name]]


def words(output: str) -> str:
    return " ".join(output.split())


def test_a_warm_rollback(fleet: Fleet) -> None:
    before = live(fleet)
    assert fleet.play("deploy", fastapi_apps=version(1)).code == 0
    later = live(fleet)
    assert all(later[name] != before[name] for name in before)
    played = fleet.play("rollback", fastapi_apps=version(1))
    assert played.code == 0, played.output
    serves(fleet, before)
    # The old instance was still warm: nothing had to be started or gated.
    assert "skipping: [debian12]" in played.output.partition("Start the instances")[2]
    for name, host in fleet.hosts.items():
        assert "rolled back from" in host.check_output(f"cat /srv/notes/releases/{later[name]}/bad")
        entry = json.loads(host.check_output("tail -n 1 /srv/notes/rollouts.jsonl"))
        assert (entry["event"], entry["release"], entry["before"]) == ("rolled back", before[name], later[name])


def test_what_was_rolled_back_from_is_not_deployed_by_accident(fleet: Fleet) -> None:
    before = live(fleet)
    played = fleet.play("deploy", fastapi_apps=version(1))
    assert played.code != 0
    message = "of this very source and settings, is marked bad: it was rolled back from"
    assert message in words(played.output)
    assert "deploy it all the same with -e fastapi_force=true" in words(played.output)
    serves(fleet, before)


def test_nor_rolled_back_to(fleet: Fleet) -> None:
    before = live(fleet)
    played = fleet.play("rollback", fastapi_apps=version(1))
    assert played.code != 0
    assert "app notes: there is no earlier good release on this host to go back to" in words(played.output)
    serves(fleet, before)


def test_unless_somebody_insists(fleet: Fleet) -> None:
    before = live(fleet)
    # standby 0: the old instance stops at once, so that going back is cold.
    played = fleet.play("deploy", fastapi_apps=version(1, standby=0), fastapi_force=True)
    assert played.code == 0, played.output
    assert all(release != before[name] for name, release in live(fleet).items())


def test_a_cold_rollback_to_a_release_by_name_without_source_or_index(fleet: Fleet) -> None:
    first = {name: min(text.split()) for name, text in fleet.each("ls /srv/notes/releases").items()}
    # The time is the run's, the same on both hosts.
    assert len(set(first.values())) == 1
    apps = version(1, source="/nowhere/at/all", index_url="http://127.0.0.1:9/simple")
    played = fleet.play("rollback", fastapi_apps=apps, app="notes", release=first["debian12"])
    assert played.code == 0, played.output
    serves(fleet, first)


def test_two_rollouts_do_not_meet(fleet: Fleet) -> None:
    first = fleet.start("deploy", fastapi_apps=version(4))
    fleet.until("test -e /srv/notes/.rollout.json")
    second = fleet.play("deploy", fastapi_apps=version(5))
    output, _ = first.communicate()
    assert second.code != 0
    assert re.search(
        r"app notes: \S+@\S+ \(process \d+ there\) is rolling it out since [-0-9]+ [:0-9]+ UTC", words(second.output)
    )
    assert first.returncode == 0, output
    for host in fleet.hosts.values():
        assert 'UPLOAD_LIMIT="1004"' in host.check_output("cat /srv/notes/current/env")
        assert host.run("test -e /srv/notes/.rollout.json").rc != 0
    # Nothing of the refused one was built.
    assert all("1005" not in text for text in fleet.each("cat /srv/notes/releases/*/env").values())


def test_the_lock_of_a_killed_rollout_is_taken_over(fleet: Fleet) -> None:
    before = live(fleet)
    killed = fleet.start("deploy", fastapi_apps=version(6))
    fleet.until("test -e /srv/notes/.rollout.json")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert fleet.hosts["debian12"].run("test -e /srv/notes/.rollout.json").rc == 0
    serves(fleet, before)
    played = fleet.play("deploy", fastapi_apps=version(6))
    assert played.code == 0, played.output
    serves(fleet, live(fleet))
    assert all(release != before[name] for name, release in live(fleet).items())
