"""What status says, compared with what the hosts themselves say: bare, well, and with everything that can be wrong.

The tests build on each other.
"""

import base64
import calendar
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet, Played
from testinfra.host import Host

FOLDER = Path(__file__).parents[1]
APPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "vars/apps.yml").read_text())["apps"]
WITNESS = APPS[0]
BOTH = ["debian12", "debian13"]
# Where the page is seen in a browser, for those who want to see it themselves.
PICTURES = FOLDER.parents[1] / ".cache/molecule"
WINDOWS = ["1280x900:light", "1280x900:dark", "390x844:light"]
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
CERTIFICATE = "/etc/ssl/paddock/witness.crt"

Document = dict[str, Any]
Look = Callable[..., tuple[Played, Document]]


@pytest.fixture
def look(fleet: Fleet, tmp_path: Path) -> Look:
    """Return a function that runs status and returns how it ended and the document that it wrote."""

    def run(*arguments: str, **variables: object) -> tuple[Played, Document]:
        file = tmp_path / "status.json"
        file.unlink(missing_ok=True)
        given: dict[str, Any] = {"fastapi_apps": APPS, "format": "json", "output": str(file), **variables}
        played = fleet.play("status", *arguments, **given)
        return played, json.loads(file.read_text())

    return run


def host_of(document: Document, name: str) -> Document:
    return next(host for host in document["hosts"] if host["host"] == name)


def app_of(document: Document, name: str, app: str = "witness") -> Document:
    return next(found for found in host_of(document, name)["apps"] if found["app"] == app)


def words(played: Played) -> str:
    """Return what was printed without its line breaks."""
    return " ".join(played.output.split())


def problems(part: Document) -> dict[str, str]:
    """Return the level of each kind of problem."""
    return {entry["kind"]: entry["level"] for entry in part["problems"]}


def unit_of(host: Host) -> str:
    return f"witness@{Path(host.check_output('readlink /srv/witness/current')).name}"


def shown(host: Host, unit: str, name: str) -> str:
    return str(host.check_output("systemctl show --value --property %s %s", name, unit))


@contextmanager
def changed(host: Host, path: str, command: str) -> Iterator[None]:
    """Change a file for a while."""
    host.check_output("cp -p %s /root/kept", path)
    try:
        host.check_output(command)
        yield
    finally:
        host.check_output("mv /root/kept %s", path)


def test_bare_hosts() -> None:
    document = json.loads((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "bare.json").read_text())
    assert (document["version"], document["level"]) == (1, "warning")
    assert sorted(host["host"] for host in document["hosts"]) == BOTH
    for name in BOTH:
        assert problems(host_of(document, name)) == {"nginx": "warning"}
        for app in ("witness", "plain"):
            found = app_of(document, name, app)
            assert problems(found) == {"not_deployed": "warning"}
            assert (found["live"], found["health"], found["drift"]) == (None, None, None)


def test_all_is_well_as_the_hosts_themselves_say(fleet: Fleet, look: Look) -> None:
    # In check mode, which makes no difference.
    played, document = look("--check")
    assert played.code == 0, played.output
    assert document["level"] == "ok", document
    for name, host in fleet.hosts.items():
        assert played.recap(name, "changed") == 0
        found = app_of(document, name)
        unit = f"{unit_of(host)}.service"
        release = unit.removeprefix("witness@").removesuffix(".service")
        record = json.loads(host.check_output("cat /srv/witness/current/release.json"))
        live = found["live"]
        assert (live["release"], live["source"]) == (release, record["source"])
        assert live["by"] == live["built_by"] == record["by"] != ""
        built = calendar.timegm(time.strptime(release[:15], "%Y%m%dT%H%M%S"))
        proven = float(host.check_output("cat /srv/witness/current/proven"))
        assert abs(live["age_seconds"] - (time.time() - built)) < 60
        assert abs(live["live_seconds"] - (time.time() - proven)) < 60
        assert (found["running"], found["enabled"]) == (True, True)
        main = shown(host, unit, "MainPID")
        processes = [main, *host.check_output("pgrep --parent %s", main).split()]
        assert found["workers"] == {"running": len(processes) - 1, "release": 2, "configured": 2}
        assert app_of(document, name, "plain")["workers"] == {"running": 1, "release": 1, "configured": 1}
        limit = host.check_output("awk '/^Max open files/ { print $4 }' /proc/%s/limits", main)
        files = max(int(host.check_output("ls /proc/%s/fd | wc -l", pid)) for pid in processes)
        tasks = sum(int(host.check_output("ls /proc/%s/task | wc -l", pid)) for pid in processes)
        assert found["limits"]["nofile"] == {
            "running": int(limit),
            "configured": int(limit),
            "used": pytest.approx(files, abs=3),
        }
        assert found["limits"]["tasks_max"] == {
            "running": 1024,
            "configured": 1024,
            "used": pytest.approx(tasks, abs=2),
        }
        nothing = {"running": None, "configured": None}
        assert found["limits"]["memory_max"] == {**nothing, "used": found["memory"]["mib"]}
        assert found["limits"]["cpu_quota"] == {**nothing, "used": None}
        assert found["restarts"] == int(shown(host, unit, "NRestarts"))
        accounted = shown(host, unit, "MemoryCurrent")
        maps = f"cat $(printf '/proc/%s/smaps_rollup ' {main} $(pgrep -P {main}))"
        used = host.check_output(f"{maps} | awk '/^Pss:/ {{ sum += $2 }} END {{ print sum / 1024 }}'")
        assert found["memory"]["from"] == ("cgroup" if accounted.isdigit() else "pss")
        expected = int(accounted) / 2**20 if accounted.isdigit() else float(used)
        assert found["memory"]["mib"] == pytest.approx(expected, rel=0.2, abs=2)
        health = found["health"]
        assert (health["ok"], health["status"], health["release"]) == (True, 200, release)
        assert health["url"] == "https://witness.test:443/healthz"
        assert 0 < health["seconds"] < 3
        end = host.check_output(
            'date -u -d "$(openssl x509 -noout -enddate -in %s | cut -d= -f2)" +%%FT%%TZ', CERTIFICATE
        )
        assert (found["certificate"]["mode"], found["certificate"]["expires"]) == ("selfsigned", end)
        assert found["certificate"]["days_left"] == 364
        version = host.check_output("/usr/sbin/nginx -v 2>&1").rpartition("/")[2]
        nginx = {"installed": True, "active": True, "enabled": True, "unloaded": False, "problem": ""}
        assert host_of(document, name)["nginx"] == {"version": version, **nginx}
        assert found["drift"] == {
            "settings": False,
            "source": False,
            "source_unknown": "",
            "release": None,
            "nginx": False,
        }
        marked = host.run("cd /srv/witness/releases && ls */bad").stdout.split()
        assert [f"{entry['release']}/bad" for entry in found["bad"]] == marked
        assert (found["standby"], found["rollback"], found["stale"]) == ([], [], [])


def test_people_get_lines_and_machines_get_json_between_them(fleet: Fleet) -> None:
    played = fleet.play("status", fastapi_apps=APPS)
    assert played.code == 0, played.output
    lines = played.output.splitlines()
    heading = next(line for line in lines if line.startswith("STATE"))
    rows = [line for line in lines if re.match(r"ok +debian1[23] +(witness|plain) +\d{8}T\d{6}Z-[0-9a-f]{12} ", line)]
    assert len(rows) == 4, played.output
    for row in rows:
        for word in ("HOST", "APP", "LIVE RELEASE", "FOR", "BY", "WORKERS", "HEALTH", "NGINX"):
            start = heading.index(word)
            assert (row[start - 1], row[start] != " ") == (" ", True), row
    assert "2 hosts, 4 apps: all is well" in lines
    played = fleet.play("status", "--limit", "debian13", fastapi_apps=APPS, format="json")
    assert played.code == 0, played.output
    lines = played.output.splitlines()
    document = json.loads("\n".join(lines[lines.index("{") : lines.index("}") + 1]))
    assert [host["host"] for host in document["hosts"]] == ["debian13"]


def test_options_that_are_none(fleet: Fleet) -> None:
    played = fleet.play("status", fastapi_apps=APPS, format="xml")
    assert played.code != 0
    assert "-e format= takes table, json or html, and -e fail_on= takes warning, critical or never" in words(played)
    assert "format is xml" in words(played)
    assert "Ask each host" not in played.output


def test_a_certificate_that_ends_soon(fleet: Fleet, look: Look) -> None:
    host = fleet.hosts["debian12"]
    made = "openssl req -x509 -nodes -subj /CN=x -days 5 -addext subjectAltName=DNS:witness.test"
    made += f" -key /etc/ssl/paddock/witness.key -out {CERTIFICATE}"
    with changed(host, CERTIFICATE, made):
        # NGINX still shows the other one.
        played, document = look()
        assert played.code == 2, played.output
        found = app_of(document, "debian12")
        assert problems(found) == {"health": "critical", "certificate": "warning"}
        assert "CERTIFICATE_VERIFY_FAILED" in found["health"]["problem"]
        assert found["certificate"]["days_left"] == 4
        host.check_output("systemctl reload nginx && sleep 1")
        played, document = look(fail_on="warning")
        assert problems(app_of(document, "debian12")) == {"certificate": "warning"}
        assert problems(app_of(document, "debian13")) == {}
        assert played.code == 2
        assert "1 warning; not well: debian12 witness (-e fail_on=warning)" in words(played)
    host.check_output("systemctl reload nginx && sleep 1")


def test_an_app_that_crashed_and_one_that_is_gone(fleet: Fleet, look: Look) -> None:
    crashed, gone = fleet.hosts["debian12"], fleet.hosts["debian13"]
    service = f"{unit_of(crashed)}.service"
    crashed.check_output("systemctl kill --kill-who=main --signal=KILL %s", service)
    deadline = time.monotonic() + 20
    while shown(crashed, service, "NRestarts") == "0" and time.monotonic() < deadline:
        time.sleep(0.1)
    crashed.check_output("curl -sfk --retry 20 --retry-delay 1 --connect-to ::127.0.0.1: https://witness.test/healthz")
    unit = unit_of(gone)
    gone.check_output("systemctl stop %s.socket %s.service", unit, unit)
    try:
        played, document = look()
    finally:
        gone.check_output("systemctl start %s.socket %s.service", unit, unit)
    assert played.code == 2
    assert "2 hosts, 4 apps: 2 critical; not well: debian13 witness (-e fail_on=critical)" in words(played)
    found = app_of(document, "debian13")
    assert problems(found) == {"not_running": "critical", "health": "critical"}
    assert (found["health"]["ok"], found["health"]["status"]) == (False, 502)
    assert (found["workers"]["running"], found["memory"], found["enabled"]) == (0, None, True)
    found = app_of(document, "debian12")
    assert (found["restarts"], found["health"]["ok"]) == (int(shown(crashed, service, "NRestarts")), True)
    assert found["restarts"] >= 1


def test_standby_bad_and_what_can_be_gone_back_to(fleet: Fleet, look: Look) -> None:
    first = {name: unit_of(host).partition("@")[2] for name, host in fleet.hosts.items()}
    changed_apps = [{**WITNESS, "env": {"VERSION": time.time()}}]
    assert fleet.play("deploy", fastapi_apps=changed_apps).code == 0
    played, document = look(fastapi_apps=[*changed_apps, APPS[1]])
    assert played.code == 0, played.output
    assert document["level"] == "ok", document
    second = {}
    for name in BOTH:
        found = app_of(document, name)
        second[name] = found["live"]["release"]
        assert found["live"]["release"] != first[name]
        assert found["last_event"]["event"] == "switched"
        assert [entry["release"] for entry in found["standby"]] == found["rollback"] == [first[name]]
        assert 0 < found["standby"][0]["retires_in_seconds"] <= 60
    assert fleet.play("rollback", fastapi_apps=changed_apps).code == 0
    played, document = look(fastapi_apps=[*changed_apps, APPS[1]])
    assert played.code == 0, played.output
    for name in BOTH:
        found = app_of(document, name)
        assert (found["live"]["release"], found["rollback"]) == (first[name], [])
        assert found["live"]["live_seconds"] < found["live"]["age_seconds"]
        assert found["bad"][-1]["release"] == second[name]
        assert "it was rolled back from" in found["bad"][-1]["reason"]
        # What is configured is what was rolled back from, and it says so.
        assert (found["drift"]["settings"], found["drift"]["release"]) == (True, second[name])
        assert problems(found) == {"settings": "warning"}


def test_rollouts_that_go_on_and_that_were_interrupted(fleet: Fleet, look: Look) -> None:
    held = {"run": "x", "by": "bob@ci", "control": "elsewhere", "pid": 4711, "since": "2026-11-22 15:40:42 UTC"}
    unfinished = "20260101T000000Z-000000000000"
    for host in fleet.hosts.values():
        host.check_output("echo %s > /srv/witness/.rollout.json", json.dumps(held))
        host.check_output("mkdir /srv/witness/releases/%s", unfinished)
    fleet.hosts["debian13"].check_output("touch -d '31 minutes ago' /srv/witness/.rollout.json")
    try:
        _, document = look()
        going, dead = app_of(document, "debian12"), app_of(document, "debian13")
    finally:
        fleet.each(f"rm /srv/witness/.rollout.json && rmdir /srv/witness/releases/{unfinished}")
    assert (going["rollout"]["by"], going["rollout"]["dead"], problems(going)) == ("bob@ci", False, {})
    assert going["unfinished"] == dead["unfinished"] == [unfinished]
    assert problems(dead) == {"interrupted": "warning", "unfinished": "warning"}
    assert dead["rollout"]["silent_seconds"] >= 31 * 60


def test_drift_of_the_inventory(look: Look, tmp_path: Path) -> None:
    source = Path(shutil.copytree(FOLDER.parent / "shared/witness", tmp_path / "witness"))
    _, document = look(fastapi_apps=[{**WITNESS, "source": str(source)}])
    for name in BOTH:
        assert problems(app_of(document, name)) == {}, "a copy is the same source"
        assert problems(app_of(document, name, "plain")) == {"not_in_inventory": "warning"}
        assert app_of(document, name, "plain")["running"] is True
    with (source / "witness.py").open("a") as file:
        file.write("# another\n")
    changes = {"source": str(source), "workers": 3, "limits": {"nofile": 4096}, "max_body_size": "1m"}
    _, document = look(fastapi_apps=[{**WITNESS, **changes}, APPS[1]])
    kinds = dict.fromkeys(["settings", "source", "nginx_file", "workers", "limits"], "warning")
    for name in BOTH:
        found = app_of(document, name)
        assert problems(found) == kinds
        assert (found["workers"]["configured"], found["limits"]["nofile"]["configured"]) == (3, 4096)


def test_drift_of_a_host(fleet: Fleet, look: Look) -> None:
    host = fleet.hosts["debian12"]
    unit = unit_of(host)
    # What was rolled back from is the newest, and on standby at most.
    old = max(name for name in host.check_output("ls /srv/witness/releases").split() if name not in unit)
    host.check_output("systemctl stop 'witness-retire-*.timer' && systemctl start witness@%s.socket", old)
    host.check_output("systemctl disable --quiet %s.service nginx.service", unit)
    folder = f"/etc/systemd/system/{unit}.service.d"
    host.check_output(f"mkdir {folder} && printf '[Service]\\nNice=1\\n' > {folder}/override.conf")
    host.check_output("systemctl daemon-reload")
    host.check_output("echo 'no_such_directive on;' > /etc/nginx/conf.d/foreign.conf")
    host.check_output("touch /run/paddock-nginx-unloaded")
    try:
        with (
            changed(
                host, "/etc/systemd/system/witness@.service", "echo '# by hand' >> /etc/systemd/system/witness@.service"
            ),
        ):
            host.check_output("sed -i 's/10m/11m/' /etc/nginx/conf.d/witness.conf && echo >> /etc/nginx/nginx.conf")
            played, document = look()
    finally:
        host.check_output(f"rm -r {folder} /etc/nginx/conf.d/foreign.conf /run/paddock-nginx-unloaded")
        host.check_output("systemctl daemon-reload && systemctl enable --quiet %s.service nginx.service", unit)
        host.check_output("systemctl stop witness@%s.socket witness@%s.service", old, old)
        host.check_output("sed -i 's/11m/10m/' /etc/nginx/conf.d/witness.conf && sed -i '$d' /etc/nginx/nginx.conf")
    assert played.code == 0, played.output
    found = app_of(document, "debian12")
    assert set(problems(found)) == {"not_enabled", "nginx_file", "units", "stale"}
    assert found["units"]["differ"] == ["/etc/systemd/system/witness@.service"]
    assert found["units"]["overridden"] == [f"{folder}/override.conf"]
    assert (found["units"]["reload_needed"], found["stale"]) == (True, [old])
    assert set(problems(host_of(document, "debian12"))) == {"nginx", "nginx_file"}
    nginx = host_of(document, "debian12")["nginx"]
    assert (nginx["enabled"], nginx["active"], nginx["unloaded"]) == (False, True, True)
    assert "no_such_directive" in nginx["problem"]
    assert host_of(document, "debian13")["level"] == "ok"


def test_a_host_that_cannot_be_reached_and_one_that_is_not_described_well(fleet: Fleet, tmp_path: Path) -> None:
    inventory = tmp_path / "more.yml"
    ghost = {"ansible_host": "127.0.0.1", "ansible_port": 9}
    other = {"ansible_connection": "local", "fastapi_apps": "{{ undefined_apps }}"}
    inventory.write_text(yaml.safe_dump({"fastapi": {"hosts": {"aghost": ghost, "broken": other}}}))
    more = ("-i", str(inventory))
    own = tmp_path / "own.yml"
    own.write_text(yaml.safe_dump({"all": {"vars": {"fastapi_apps": APPS}}}))
    file = tmp_path / "out.json"
    played = fleet.play("status", *more, "-i", str(own), format="json", output=str(file))
    document = json.loads(file.read_text())
    assert played.code == 2
    assert sorted(host["host"] for host in document["hosts"]) == ["aghost", "broken", *BOTH]
    assert problems(host_of(document, "aghost")) == {"unreachable": "critical"}
    assert host_of(document, "aghost")["reachable"] is False
    assert problems(host_of(document, "broken")) == {"failed": "critical"}
    assert "undefined_apps" in host_of(document, "broken")["problems"][0]["text"]
    assert [host_of(document, name)["level"] for name in BOTH] == ["ok", "ok"]
    played = fleet.play("status", *more, "-i", str(own), "--limit", "aghost")
    assert played.code == 2
    assert re.search(r"^critical +aghost +- +unreachable ", played.output, re.MULTILINE), played.output
    assert "1 host, 0 apps: 1 critical" in played.output


@contextmanager
def in_trouble(fleet: Fleet) -> Iterator[None]:
    """Have an app down, one that would not come back at a boot, and a log with what wants to be more than text."""
    first, second = (fleet.hosts[name] for name in BOTH)
    log = "/srv/witness/rollouts.jsonl"
    line = json.loads(second.check_output("tail -n 1 %s", log)) | {"by": HOSTILE, "reason": HOSTILE}
    unit = f"plain@{Path(first.check_output('readlink /srv/plain/current')).name}"
    first.check_output("systemctl stop %s.socket %s.service", unit, unit)
    second.check_output("systemctl disable --quiet %s.service", unit_of(second))
    try:
        with changed(second, log, f"echo {base64.b64encode(json.dumps(line).encode()).decode()} | base64 -d >> {log}"):
            yield
    finally:
        first.check_output("systemctl start %s.socket %s.service", unit, unit)
        second.check_output("systemctl enable --quiet %s.service", unit_of(second))


def lines_of(picture: bytes) -> set[bytes]:
    """Return the lines of a PNG that differ: a blank one has two or three, because of how it filters them."""
    width, height = (int.from_bytes(picture[at : at + 4]) for at in (16, 20))
    data, at = b"", 8
    while at < len(picture):
        size = int.from_bytes(picture[at : at + 4])
        if picture[at + 4 : at + 8] == b"IDAT":
            data += picture[at + 8 : at + 8 + size]
        at += size + 12
    pixels = zlib.decompress(data)
    long = len(pixels) // height
    assert long > width
    return {pixels[row * long : (row + 1) * long] for row in range(height)}


def test_the_page_in_a_browser(fleet: Fleet, tmp_path: Path) -> None:
    """With the names of the documentation, which shows the picture."""
    hosts = {
        "web1": {"ansible_host": "debian12"},
        "web2": {"ansible_host": "debian13"},
        "web3": {"ansible_host": "127.0.0.1", "ansible_port": 9},
    }
    apps = [{**app, "source": str(FOLDER.parent / app["source"])} for app in APPS]
    common = {"ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3", "fastapi_apps": apps}
    inventory = tmp_path / "web.yml"
    inventory.write_text(yaml.safe_dump({"fastapi": {"hosts": hosts, "vars": common}}))
    page = tmp_path / "status.html"
    with in_trouble(fleet):
        played = fleet.play("status", inventory=inventory, format="html", output=str(page))
    assert played.code == 2, "as with any other format"
    assert f"The page is {page}" in played.output.splitlines()
    assert "not well: web1 plain, web3 (-e fail_on=critical)" in words(played)
    assert page.stat().st_mode & 0o777 == 0o600

    host = fleet.hosts["debian13"]
    host.check_output("echo %s | base64 -d > /root/status.html", base64.b64encode(page.read_bytes()).decode())
    seen = json.loads(host.check_output("python3 /opt/browser.py /root/status.html %s %s %s", *WINDOWS))
    live = unit_of(host).partition("@")[2]
    for window, look in zip(WINDOWS, seen, strict=True):
        picture = base64.b64decode(look.pop("picture"))
        (PICTURES / f"status-{window.replace(':', '-')}.png").write_bytes(picture)
        assert len(lines_of(picture)) > 100
        assert (look["loaded"], look["said"], look["active"]) == ([], [], 0)
        assert re.fullmatch("critical: 3 hosts, 4 apps: 3 critical, 1 warning", look["title"])
        assert look["needed"] <= look["width"] == int(window.partition("x")[0]), "nobody has to scroll sideways"
        told = (
            *("What runs where", "web1", "web2", "web3", "witness", "plain", "unreachable", live),
            *(
                "its service or its socket does not run",
                "What mends it: journalctl on the host says why; deploy starts it again",
                "364 days left",
            ),
            "its service or its socket does not start at boot",
            *("2 of 2 run", "0 of 1 run", "MiB", "Drift from the inventory", "Can go back to", HOSTILE),
            *("critical", "warning", "ok", "failing", "rolled back to"),
        )
        for text in told:
            assert text in look["text"], text
    light, dark, _phone = seen
    assert (light["background"], light["color"]) == ("rgb(244, 245, 247)", "rgb(28, 33, 40)"), "the style applies"
    assert (dark["background"], dark["color"]) == ("rgb(15, 19, 24)", "rgb(227, 232, 238)")


def test_the_callback_tells_of_a_rollout_in_a_few_lines(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "paddock.fastapi.rollout")
    before = {name: unit_of(host).partition("@")[2] for name, host in fleet.hosts.items()}
    apps = [{**WITNESS, "env": {"VERSION": time.time()}}]
    played = fleet.play("deploy", fastapi_apps=apps)
    assert played.code == 0
    now = {name: unit_of(host).partition("@")[2] for name, host in fleet.hosts.items()}
    stages = (
        ("Stage", "Build the releases (witness); Start the new instances (witness)"),
        ("Switch", "Switch to the new releases (witness)"),
        ("Retire", "Let systemd retire what is no longer live (witness)"),
    )
    told = [
        line for name, what in stages for line in (rf"{name} +[\d.]+ s", re.escape(f"    debian12, debian13: {what}"))
    ]
    told += [""]
    told += [
        rf"changed  {name}  [\d.]+ s  witness {now[name]} \(before {before[name]}\); 4 changes" for name in fleet.hosts
    ]
    told += [r"2 hosts, [\d.]+ s", ""]
    assert re.fullmatch("\n".join(told), played.output)
    again = fleet.play("deploy", fastapi_apps=apps)
    told = [rf"ok  {name}  [\d.]+ s  witness {now[name]}; no change" for name in fleet.hosts]
    assert re.fullmatch("\n".join([*told, r"2 hosts, [\d.]+ s", ""]), again.output)
    broken = fleet.play("deploy", fastapi_apps=[{**WITNESS, "module": "broken:app"}])
    assert broken.code != 0
    for name in fleet.hosts:
        head = f"{name} failed in Stage: Gate the new instances over their own sockets (witness)\n"
        assert broken.output.count(f"{head}    app witness: release ") == 1
        assert re.search(rf"^failed  {name}  [\d.]+ s  in Stage; witness {now[name]}; ", broken.output, re.MULTILINE)
    assert broken.output.count("WITNESS_TOKEN") >= 2
    assert broken.output.count("Nothing was switched on any host, and what was live is live.") == 1
    assert broken.output.endswith("; failed: debian12, debian13\n")
