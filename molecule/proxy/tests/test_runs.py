"""What an administrator does to a proxy that serves: maintenance, reloads, and settings that cannot work.

The tests build on each other.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet, Played
from public import Public
from testinfra.host import Host

APPS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"]
MIRROR, UNDER = APPS
# Another release of one app, whenever the tests are run.
LATER = [{**MIRROR, "env": {"TIME": time.time_ns()}}, UNDER]
HTML = ("--header", "Accept: text/html")

# NGINX's processes, which a reload replaces, and all its files.
STATE = """
    pgrep --parent "$(systemctl show --value --property MainPID nginx.service)"
    find /etc/nginx -type f | sort | xargs sha256sum
"""

# Clients that keep their connections while NGINX is reloaded: ADDRESS SECONDS PATHS. Each asks once before that, and
# once meanwhile for its path, if that is not empty. Tells what the answers to that were, and how long it all took.
KEEPING = """
import http.client, json, socket, ssl, subprocess, sys, time

address, seconds, paths = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
context = ssl.create_default_context(cafile="/etc/ssl/paddock/mirror.crt")

def ask(client, path):
    client.request("GET", path)
    answer = client.getresponse()
    return [answer.status, answer.getheader("Connection"), answer.read().decode()]

clients = []
for path in paths:
    client = http.client.HTTPConnection("mirror.test")
    client.auto_open = False
    client.sock = context.wrap_socket(socket.create_connection((address, 443)), server_hostname="mirror.test")
    assert ask(client, "/healthz")[:2] == [200, "keep-alive"]
    clients.append(client)
started = time.monotonic()
reload = subprocess.Popen(["/opt/paddock/bin/nginx-reload", seconds])
time.sleep(1.5)
answers = {path: ask(client, path) for client, path in zip(clients, paths) if path}
code = reload.wait()
print(json.dumps({"answers": answers, "seconds": time.monotonic() - started, "code": code}))
"""


def words(played: Played) -> str:
    """Return what was printed without its line breaks."""
    return " ".join(played.output.split())


@pytest.fixture
def untouched(fleet: Fleet) -> Iterator[None]:
    """NGINX is not reloaded, and its files stay as they are."""
    before = fleet.each(STATE)
    yield
    assert fleet.each(STATE) == before


def statuses(fleet: Fleet, *urls: str) -> list[list[int]]:
    """Return how each host answers some requests."""
    return [[Public.of(host).ask(url).status for url in urls] for host in fleet.hosts.values()]


def drained(public: Public, seconds: int, *paths: str) -> dict[str, Any]:
    """Reload NGINX while clients keep connections, one for each path, and return what came of that."""
    workers = public.host.check_output("pgrep --parent $(cat /run/nginx.pid)").split()
    told = public.host.check_output("python3 -c %s %s %s %s", KEEPING, public.address, str(seconds), json.dumps(paths))
    assert set(public.host.check_output("pgrep --parent $(cat /run/nginx.pid)").split()) - set(workers)
    assert public.host.run("test -e /run/paddock-nginx-draining").rc == 1
    found: dict[str, Any] = json.loads(told)
    assert found["code"] == 0
    return found


# -- Reloads -----------------------------------------------------------------------------------------------------------


def test_a_reload_lets_clients_finish(public: Public) -> None:
    """Their next answer is the last of their connection and otherwise as ever; NGINX waits no longer than for that."""
    found = drained(public, 20, "/a%2Fb?c=d", "/admin", "/static/plain.txt", "/")
    answers = found["answers"]
    assert {path: (status, connection) for path, (status, connection, _) in answers.items()} == {
        "/a%2Fb?c=d": (200, "close"),
        "/admin": (403, "close"),
        "/static/plain.txt": (200, "close"),
        "/": (200, "close"),
    }
    seen = json.loads(answers["/a%2Fb?c=d"][2])
    assert (seen["raw_path"], seen["query"]) == ("/a%2Fb", "c=d")
    assert answers["/static/plain.txt"][2] == "plain\n"
    assert found["seconds"] < 4


def test_a_reload_does_not_wait_for_nobody(public: Public) -> None:
    assert drained(public, 20)["seconds"] < 2


def test_a_reload_does_not_wait_for_ever(public: Public) -> None:
    assert 3 <= drained(public, 3, "")["seconds"] < 5


def test_an_event_stream_is_the_last_of_its_connection(public: Public) -> None:
    """It outlasts any reload, so clients must know from the start; of HTTP/2, NGINX can tell them when it comes."""
    streams, others = ("--header", "Accept: text/event-stream"), ("--header", "Accept: text/event-stream, text/html")
    ways = [("--http1.1", *streams), ("--http1.1", *others), ("--http2", *streams)]
    answers = [public.ask("mirror.test/a%2Fb?c=d", *way) for way in ways]
    assert [(answer.status, answer.header("connection")) for answer in answers] == [
        (200, "close"),
        (200, "keep-alive"),
        (200, None),
    ]
    assert {json.loads(answer.text)["raw_path"] for answer in answers} == {"/a%2Fb"}


def test_systemd_reloads_so(host: Host) -> None:
    shown = host.check_output("systemctl show --value --property=ExecReload nginx.service")
    assert re.findall(r"argv\[\]=(.*?) ;", shown) == ["/opt/paddock/bin/nginx-reload 10"]


# -- Maintenance -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
def test_a_page_for_one_app(fleet: Fleet) -> None:
    """Checks and static files go on, as does the other app; and meanwhile the app can be deployed."""
    assert fleet.play("maintenance", fastapi_apps=APPS, app="mirror", state="on").code == 0
    for public in map(Public.of, fleet.hosts.values()):
        people, programs = public.ask("mirror.test/docs", *HTML), public.ask("mirror.test/docs", "--data", "a")
        assert [people.status, programs.status] == [503, 503]
        assert [people.header("retry-after"), programs.header("retry-after")] == ["60", "60"]
        assert [people.header("cache-control"), programs.header("cache-control")] == ["no-store", "no-store"]
        assert (people.header("content-type"), "<h1>Maintenance</h1>" in people.text) == ("text/html", True)
        assert programs.header("content-type") == "application/json"
        assert list(json.loads(programs.text)) == ["detail"]
    before = fleet.each("readlink /srv/mirror/current")
    deployed = fleet.play("deploy", fastapi_apps=LATER)
    assert deployed.code == 0
    after = fleet.each("readlink /srv/mirror/current")
    assert all(after[name] != before[name] for name in before)
    urls = ["mirror.test/a", "mirror.test/healthz", "mirror.test/static/app.0a1b2c3d.js", "under.test/api/a"]
    assert statuses(fleet, *urls) == [[503, 200, 200, 200]] * 2


@pytest.mark.usefixtures("untouched")
def test_a_page_of_ones_own_for_all(fleet: Fleet, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>Until noon: {{ no_template }} \u00e9\n")
    assert fleet.play("maintenance", fastapi_apps=LATER, state="on", page=str(page)).code == 0
    for public in map(Public.of, fleet.hosts.values()):
        shown = [public.ask(url, *HTML) for url in ("mirror.test/a", "under.test/api/a")]
        assert [(answer.status, answer.text) for answer in shown] == [(503, page.read_text())] * 2
    assert statuses(fleet, "mirror.test/healthz", "under.test/api/healthz") == [[200, 200]] * 2
    assert fleet.play("maintenance", fastapi_apps=LATER, state="off").code == 0
    assert statuses(fleet, "mirror.test/a", "under.test/api/a") == [[200, 200]] * 2


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"state": "maybe"}, "-e state= takes on or off; it is maybe."),
        ({"state": "on", "app": "miror"}, "-e app= takes one of mirror, under, or is left out for all; it is miror."),
        ({"state": "on", "page": "/no/such/page.html"}, "/no/such/page.html"),
    ],
)
def test_maintenance_that_is_not_understood(fleet: Fleet, variables: dict[str, Any], message: str) -> None:
    played = fleet.play("maintenance", fastapi_apps=LATER, **variables)
    assert played.code != 0
    assert message in words(played)
    assert statuses(fleet, "mirror.test/a", "under.test/api/a") == [[200, 200]] * 2


# -- Settings that cannot work -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
def test_directives_that_nginx_does_not_know(fleet: Fleet) -> None:
    """The site stays as it was, and no password's hash is shown, however much is."""
    former, other = MIRROR["paths"]["/private"]["users"]["alice"], "$6$another$" + "a" * 86
    paths = {**MIRROR["paths"], "/private": {"users": {"alice": other}}}
    apps = [{**LATER[0], "paths": paths}, {**UNDER, "nginx": "no_such_directive on;"}]
    played = fleet.play("site", "--tags", "nginx", "--diff", "-vvv", fastapi_apps=apps)
    assert played.code != 0
    for text in ('unknown directive "no_such_directive" in /etc/nginx/conf.d/under.conf', "correct the settings"):
        assert text in words(played)
    assert "(secret, changed)" in played.output
    assert former not in played.output
    assert other not in played.output
    assert statuses(fleet, "mirror.test/a", "under.test/api/a") == [[200, 200]] * 2


@pytest.mark.usefixtures("untouched")
def test_a_port_that_another_program_has(fleet: Fleet) -> None:
    """NGINX accepts that, and finds out later."""
    fleet.each("systemd-run --quiet --unit=occupier python3 -m http.server 8099")
    try:
        fleet.each("until curl --silent --output /dev/null http://127.0.0.1:8099; do sleep 0.1; done")
        played = fleet.play("site", "--tags", "nginx", fastapi_apps=LATER, fastapi_http_port=8099)
    finally:
        fleet.each("systemctl stop occupier.service")
    assert played.code != 0
    assert "NGINX did not load it" in words(played)
    assert "bind() to 0.0.0.0:8099 failed (98: Address already in use)" in words(played)
    assert "Its files are as they were before, and NGINX goes on with what it has loaded." in words(played)
    assert statuses(fleet, "mirror.test/a", "under.test/api/a") == [[200, 200]] * 2
    # Nothing is left for the next run.
    assert set(fleet.each("ls /run/paddock-nginx-* 2>/dev/null || true").values()) == {""}


# -- And in the end ----------------------------------------------------------------------------------------------------


def test_nothing_has_drifted(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    played = fleet.play("status", fastapi_apps=LATER, format="json", output=str(file), fail_on="warning")
    assert played.code == 0
    document = json.loads(file.read_text())
    assert document["level"] == "ok"
    assert [host["problems"] for host in document["hosts"]] == [[], []]
    for host in document["hosts"]:
        apps = {app["app"]: app for app in host["apps"]}
        assert [app["drift"]["nginx"] for app in apps.values()] == [False, False]
        assert apps["under"]["health"]["ok"]
        assert apps["under"]["health"]["url"] == "https://under.test:443/api/healthz"
