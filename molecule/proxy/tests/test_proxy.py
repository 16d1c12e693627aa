"""What NGINX does for two apps that are deployed for real, each rule seen from outside."""

import json
import re
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from public import Answer, Public
from testinfra.host import Host

HTML = ("--header", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
DISCARD = ("--output", "/dev/null", "--write-out", "%{http_code}\\n")
IMMUTABLE, REVALIDATE = "public, max-age=31536000, immutable", "public, max-age=0, must-revalidate"

# Opens a WebSocket and prints the answer to one message: ADDRESS DOMAIN PATH. Not with the client of websockets.sync:
# it reads and writes in two threads at once, and OpenSSL has no lock for that, so over TLS it crashes or hangs now and
# then.
SOCKET = """
import asyncio, ssl, sys
from websockets.asyncio.client import connect
address, domain, path = sys.argv[1:]
context = ssl.create_default_context(cafile=f"/etc/ssl/paddock/{domain.partition('.')[0]}.crt")
async def ask():
    async with connect(f"wss://{domain}{path}", host=address, ssl=context) as opened:
        await opened.send("hello")
        print(await opened.recv())
asyncio.run(ask())
"""
# Begins a PUT of two pieces with a second between them: curl takes what to send from standard input as it comes.
SLOWLY = "(printf a; sleep 1; printf b) | "

# Listens at a socket in the place of an app, and has as many connections waiting as fit into its queue: PATH.
FULL = """
import os, socket, sys, time
listener, waiting = socket.socket(socket.AF_UNIX), []
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen(0)
while True:
    waiting.append(socket.socket(socket.AF_UNIX))
    waiting[-1].setblocking(False)
    try:
        waiting[-1].connect(sys.argv[1])
    except BlockingIOError:
        time.sleep(60)
"""


def somebody() -> tuple[str, str]:
    """Return options of curl for a client that has not asked before. It must ask 127.0.0.1."""
    return "--interface", ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])


def seen_by(host: Host, app: str) -> list[str]:
    """Return the requests that reached an app's route for all paths that have none of their own."""
    return host.check_output("cat /srv/%s/shared/seen", app).splitlines()


def release(host: Host, app: str) -> str:
    return host.check_output("basename $(readlink /srv/%s/current)", app)


def at_once(*asks: tuple[Public, str, *tuple[str, ...]]) -> list[Answer]:
    """Ask several things at a time: who asks, what, and with which options."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda ask: ask[0].ask(*ask[1:]), asks))


# -- Protocols and addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_versions(public: Public, name: str, version: str) -> None:
    """All versions of HTTP that the distribution's NGINX has are spoken; the newest is offered if it is there."""
    has_it = name == "debian13"
    if version == "3" and not has_it:
        assert public.host.check_output("ss -Hlun sport = :443") == ""
        return
    answer = public.ask("mirror.test/", f"--http{version}" + "-only" * (version == "3"))
    assert answer.version == version
    assert answer.header("alt-svc") == ('h3=":443"; ma=86400' if has_it else None)
    assert answer.seen["headers"]["host"] == "mirror.test"


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("http://mirror.test/a%2Fb?c=d%20e", "https://mirror.test/a%2Fb?c=d%20e"),
        ("http://second.test/a", "https://second.test/a"),
        ("http://www.mirror.test/a%2Fb?c=d", "https://www.mirror.test/a%2Fb?c=d"),
        ("https://www.mirror.test/a%2Fb?c=d%20e", "https://mirror.test/a%2Fb?c=d%20e"),
        ("https://under.test/api?c=d", "https://under.test/api/?c=d"),
    ],
)
def test_redirects(public: Public, asked: str, location: str) -> None:
    """Permanently, with the method, the path as it was written, and the query."""
    answer = public.ask(asked, "--request", "POST")
    assert (answer.status, answer.header("location")) == (308, location)


def test_all_domains_are_served(public: Public) -> None:
    assert public.ask("second.test/a").seen["url"] == "https://second.test/a"


# -- Paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%20b", "/caf%C3%A9", "/caf%c3%a9", "/a+b%2B", "/%E2%82%AC/%25", "//a"])
@pytest.mark.parametrize(("domain", "root"), [("mirror.test", ""), ("under.test", "/api")])
def test_paths_arrive_as_they_are_written(public: Public, domain: str, root: str, path: str) -> None:
    seen = public.ask(f"{domain}{root}{path}?q=%2F+x").seen
    assert (seen["raw_path"], seen["root_path"], seen["query"]) == (root + path, root, "q=%2F+x")


def test_an_app_under_a_path_knows_where_it_is(public: Public) -> None:
    seen = public.ask("under.test/api/a/b?c=d").seen
    assert (seen["root_path"], seen["path"], seen["url"]) == ("/api", "/api/a/b", "https://under.test/api/a/b?c=d")
    assert seen["headers"]["x-forwarded-prefix"] == "/api"
    docs = public.ask("under.test/api/docs")
    assert (docs.status, re.findall(r"url: '([^']*)'", docs.text)) == (200, ["/api/openapi.json"])
    described = json.loads(public.ask("under.test/api/openapi.json").text)
    assert described["servers"] == [{"url": "/api"}]
    assert "/healthz" in described["paths"]


@pytest.mark.parametrize("path", ["/", "/docs", "/apis", "/healthz", "/api%2Fa", "/API/a"])
def test_nothing_of_it_is_outside_of_that(public: Public, path: str) -> None:
    before = seen_by(public.host, "under")
    assert public.ask(f"under.test{path}").status in {400, 404}
    assert seen_by(public.host, "under") == before


def test_directives_pass_through(public: Public) -> None:
    answer = public.ask("under.test/robots.txt")
    assert (answer.status, answer.text) == (200, "Disallow: /")


# -- What is not one request and one answer ---------------------------------------------------------------------------


@pytest.mark.parametrize(("domain", "path"), [("mirror.test", "/ws"), ("under.test", "/api/ws")])
def test_websockets(public: Public, domain: str, path: str) -> None:
    interpreter = f"/srv/{domain.partition('.')[0]}/current/venv/bin/python"
    told = json.loads(public.host.check_output(f"{interpreter} -c %s %s %s %s", SOCKET, public.address, domain, path))
    assert told["text"] == "hello"
    assert told["headers"]["x-forwarded-for"] == public.address
    assert told["headers"]["upgrade"] == "websocket"


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "TLS/1.3"])
def test_nothing_else_is_upgraded_to(public: Public, upgrade: str) -> None:
    options = ("--http1.1", "--header", "Connection: Upgrade, HTTP2-Settings", "--header", f"Upgrade: {upgrade}")
    seen = public.ask("mirror.test/", *options).seen["headers"]
    assert {"upgrade", "connection"} & seen.keys() == set()


@pytest.mark.parametrize(
    ("url", "options"),
    [("mirror.test/events", ["--http1.1"]), ("under.test/api/events", ["--http2", "--compressed"])],
)
def test_events_arrive_as_they_are_sent(public: Public, url: str, options: list[str]) -> None:
    """The second is three seconds later."""
    heard = public.host.run(public.command(url, "--no-buffer", "--max-time", "2", *options))
    assert heard.stdout == "data: first\n\n"


def test_uploads_are_taken_in_before_the_app_sees_them(public: Public) -> None:
    told = json.loads(public.host.check_output(SLOWLY + public.command("under.test/api/stream", "--upload-file", "-")))
    assert told["pieces"] == 1


def test_but_for_those_that_are_to_stream(public: Public) -> None:
    told = json.loads(public.host.check_output(SLOWLY + public.command("mirror.test/stream", "--upload-file", "-")))
    assert told["pieces"] == 2
    assert told["seconds"] > 0.8


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("url", "most"),
    [("mirror.test/", 100 * 1024), ("mirror.test/stream", 2 * 2**20), ("under.test/api/stream", 10 * 2**20)],
)
def test_bodies_have_a_limit(public: Public, url: str, most: int, *, chunked: bool) -> None:
    options = ["--http1.1", "--request", "PUT", "--data-binary", "@-", "--header", "Expect:", *DISCARD]
    options += ["--header", "Transfer-Encoding: chunked"] * chunked
    told = [
        public.host.run(f"head -c {size} /dev/zero | {public.command(url, *options)}").stdout.strip()
        for size in (most, most + 1)
    ]
    assert told == ["200", "413"]


# -- Compression -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "accepted", "encoding"),
    [
        ("/large", "gzip", "gzip"),
        ("/large", "br", "br"),
        ("/large", "gzip, deflate, br, zstd", "br"),
        ("/large", "identity", None),
        ("/large?kind=application/json", "gzip, br", "br"),
        ("/large?kind=application/problem%2Bjson", "gzip", "gzip"),
        ("/large?kind=image/png", "gzip, br", None),
        ("/large?kind=text/event-stream", "gzip, br", None),
        ("/large?lines=20", "gzip, br", None),
    ],
)
def test_compression(public: Public, asked: str, accepted: str, encoding: str | None) -> None:
    """Of large texts, for clients that ask for it; caches are told that it depends on that."""
    answer = public.ask(f"mirror.test{asked}", "--header", f"Accept-Encoding: {accepted}")
    assert answer.status == 200
    assert answer.header("content-encoding") == encoding
    compressible = encoding or accepted == "identity"
    assert answer.header("vary") == ("Accept-Encoding" if compressible else None)
    assert (len(answer.body) < 1000) == bool(encoding or "lines" in asked)
    if encoding:
        plain = public.ask(f"mirror.test{asked}", "--compressed", "--header", f"Accept-Encoding: {accepted}")
        assert plain.text == "all work and no play makes jack a dull boy\n" * 1000


# -- Static files ------------------------------------------------------------------------------------------------------


def test_static_files(public: Public) -> None:
    """NGINX serves them itself, and only what has a hash in its name is never asked for again."""
    before = seen_by(public.host, "mirror")
    hashed, plain = public.ask("mirror.test/static/app.0a1b2c3d.js"), public.ask("mirror.test/static/plain.txt")
    assert (hashed.status, hashed.header("cache-control")) == (200, IMMUTABLE)
    assert "console.log" in hashed.text
    assert str(hashed.header("content-type")).startswith("application/javascript")
    assert (plain.status, plain.header("cache-control"), plain.text) == (200, REVALIDATE, "plain\n")
    assert hashed.header("x-content-type-options") == "nosniff"
    again = public.ask("mirror.test/static/plain.txt", "--header", f"If-None-Match: {plain.header('etag')}")
    assert (again.status, again.header("cache-control")) == (304, REVALIDATE)
    assert public.ask("mirror.test/static/plain.txt", "--request", "POST").status == 405
    assert seen_by(public.host, "mirror") == before


@pytest.mark.parametrize("path", ["none.txt", "app.ffffffff1.js", "main.py", "__init__.py", "", "..%5cmain.py"])
def test_no_other_files(public: Public, path: str) -> None:
    before = seen_by(public.host, "mirror")
    answer = public.ask(f"mirror.test/static/{path}")
    # The folder itself is there, but its list is nobody's business.
    assert answer.status == (404 if path else 403)
    assert answer.header("cache-control") is None
    assert seen_by(public.host, "mirror") == before


@pytest.mark.parametrize(
    "path", ["/static../main.py", "/static/../main.py", "/static/%2e%2e/main.py", "/mirror/main.py"]
)
def test_no_way_out_of_the_folder(public: Public, path: str) -> None:
    answer = public.ask(f"mirror.test{path}")
    # What is not for NGINX is for the app, which shows what it was asked.
    assert answer.status == 400 or answer.seen["raw_path"] == path


def test_nginx_may_read_nothing_but_them(host: Host) -> None:
    found = host.check_output(
        "cd / && runuser -u www-data -- find -L /srv/mirror/current/src/mirror/static -type f -readable -printf '%f\\n'"
    )
    assert sorted(found.splitlines()) == ["app.0a1b2c3d.js", "plain.txt"]
    for path in ("src/mirror/main.py", "src/requirements.txt", "env", "release.json", "venv/bin/python"):
        assert host.run(f"test -s /srv/mirror/current/{path} -o {path} = env").rc == 0
        assert host.run(f"runuser -u www-data -- test -r /srv/mirror/current/{path}").rc == 1


# -- Limits and who may ask --------------------------------------------------------------------------------------------


def test_rates(public: Public) -> None:
    """Each client has its own, and what it may ask elsewhere is not limited."""
    client = somebody()
    command = public.loopback().command("mirror.test/login?[1-5]", *client, *DISCARD)
    assert public.host.check_output(command).split() == ["200"] * 3 + ["429"] * 2
    assert public.loopback().ask("mirror.test/login/again", *client).status == 429
    assert public.loopback().ask("mirror.test/logins", *client).status == 200
    assert public.loopback().ask("mirror.test/login", *somebody()).status == 200


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_connections(public: Public, version: str) -> None:
    together = ["--parallel", "--parallel-immediate", "--parallel-max", "10", f"--http{version}"]
    command = public.loopback().command("mirror.test/slow?seconds=1&n=[1-4]", *somebody(), *together, *DISCARD)
    assert Counter(public.host.check_output(command).split()) == {"200": 2, "429": 2}


@pytest.mark.parametrize(
    ("path", "others", "itself"),
    [
        ("mirror.test/admin", 403, 200),
        ("mirror.test/admin/", 403, 200),
        ("mirror.test/admin/a", 403, 200),
        ("mirror.test/administrator", 200, 200),
        ("mirror.test/metrics", 403, 200),
        ("mirror.test/metrics/a", 403, 200),
        ("under.test/api/metrics", 403, 200),
        ("under.test/metrics", 404, 404),
    ],
)
def test_who_may_ask(public: Public, path: str, others: int, itself: int) -> None:
    assert (public.ask(path).status, public.loopback().ask(path).status) == (others, itself)


def test_passwords(public: Public) -> None:
    url = "mirror.test/private/a"
    assert public.ask(url).header("www-authenticate") == 'Basic realm="mirror"'
    wanted = {"alice:sesame": 200, "alice:open": 401, "bob:sesame": 401, "alice:": 401}
    assert {user: public.ask(url, "--user", user).status for user in wanted} == wanted
    assert public.ask("mirror.test/private").status == 401
    # Not even the host itself, but the files are for NGINX alone.
    assert public.loopback().ask(url).status == 401
    shown = public.host.check_output("stat --format '%U %G %a' /etc/nginx/paddock/*.users")
    assert shown == "root www-data 640"


# -- Headers -----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "x-content-type-options": ["nosniff"],
    "x-frame-options": ["SAMEORIGIN"],
    "referrer-policy": ["strict-origin-when-cross-origin"],
}
UNDER = {
    "x-content-type-options": ["nosniff"],
    "x-frame-options": ["DENY"],
    "x-team": ["Under"],
    "strict-transport-security": ["max-age=63072000"],
}


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mirror.test/", DEFAULTS),
        ("mirror.test/static/plain.txt", DEFAULTS),
        ("mirror.test/admin", DEFAULTS),
        ("mirror.test/guarded", {**DEFAULTS, "x-frame-options": ["DENY"]}),
        ("under.test/api/", UNDER),
        ("under.test/api/guarded", UNDER),
        ("under.test/api/metrics", UNDER),
    ],
)
def test_security_headers(public: Public, url: str, wanted: dict[str, list[str]]) -> None:
    """They are there, unless the app or its settings say otherwise, and once."""
    headers = public.ask(url).headers
    assert {name: headers.get(name) for name in DEFAULTS | UNDER} == dict.fromkeys(DEFAULTS | UNDER) | wanted


@pytest.mark.parametrize("path", ["/", "/guarded"])
def test_the_release_is_for_the_host_itself(public: Public, path: str) -> None:
    """Whatever the app says of it."""
    assert public.ask(f"mirror.test{path}").header("x-paddock-release") is None
    assert public.loopback().ask(f"mirror.test{path}").header("x-paddock-release") == release(public.host, "mirror")


# -- Pages for what goes wrong -----------------------------------------------------------------------------------------


def page(answer: Answer, status: int, title: str) -> None:
    """Check that this is a page of NGINX's for people."""
    assert (answer.status, answer.header("content-type")) == (status, "text/html")
    assert f"<h1>{title}</h1>" in answer.text
    assert (answer.header("cache-control"), answer.header("retry-after")) == ("no-store", "60")


def detail(answer: Answer, status: int) -> None:
    """Check that this is an answer of NGINX's for programs."""
    assert (answer.status, answer.header("content-type")) == (status, "application/json")
    assert list(json.loads(answer.text)) == ["detail"]
    assert (answer.header("cache-control"), answer.header("retry-after")) == ("no-store", "60")


def test_an_app_that_is_too_slow(public: Public) -> None:
    url, started = "mirror.test/slow?seconds=10", time.monotonic()
    people, programs, posted = at_once((public, url, *HTML), (public, url), (public.loopback(), url, "--data", "a"))
    # The app would have answered after ten.
    assert 3 <= time.monotonic() - started < 9
    page(people, 504, "Too slow")
    detail(programs, 504)
    detail(posted, 504)


def test_an_app_that_is_not_there(public: Public) -> None:
    url, units = "under.test/api/", f"under@{release(public.host, 'under')}"
    public.host.check_output(f"systemctl stop {units}.socket {units}.service")
    try:
        page(public.ask(url, *HTML), 502, "Out of order")
        detail(public.ask(url), 502)
        detail(public.ask(url, "--data", "a"), 502)
        assert public.ask("mirror.test/").status == 200
    finally:
        public.host.check_output(f"systemctl start {units}.socket {units}.service")
    assert public.ask(url).status == 200


def test_an_app_that_has_too_much_to_do(public: Public) -> None:
    url, units = "under.test/api/", f"under@{release(public.host, 'under')}"
    public.host.check_output(f"systemctl stop {units}.socket {units}.service")
    full = "systemd-run --quiet --collect --unit full python3 -c %s %s && sleep 1"
    try:
        public.host.check_output(full, FULL, "/srv/under/current/app.sock")
        page(public.ask(url, *HTML), 503, "Busy")
        detail(public.ask(url), 503)
        detail(public.ask(url, "--data", "a"), 503)
    finally:
        public.host.check_output("systemctl stop full; rm -f /srv/under/current/app.sock")
        public.host.check_output(f"systemctl start {units}.socket {units}.service")
    assert public.ask(url).status == 200


def test_errors_of_the_app_are_its_own(public: Public) -> None:
    answer = public.ask("mirror.test/slow?seconds=soon", *HTML)
    assert (answer.status, answer.header("content-type")) == (422, "application/json")


# -- The log -----------------------------------------------------------------------------------------------------------


def test_the_log(public: Public) -> None:
    """It tells which request of the app's log this was, and nothing secret; also after the next rotation."""
    for _ in range(2):
        seen = public.ask("mirror.test/logged%20in?token=secret", "--user-agent", 'a "b" \\').seen
        request = seen["headers"]["x-request-id"]
        # NGINX writes once a second.
        line = public.host.check_output("sleep 1.5; grep --fixed-strings %s /var/log/nginx/access.log", request)
        entry = json.loads(line)
        assert entry["request_id"] == request
        # Two clocks, of which one is coarse.
        assert 0 <= float(entry["upstream_seconds"]) <= entry["seconds"] + 0.01 < 1
        assert entry["path"] == "/logged%20in"
        assert "secret" not in line
        assert (entry["client"], entry["status"], entry["protocol"]) == (public.address, 200, "HTTP/2.0")
        assert (entry["release"], entry["user_agent"]) == (release(public.host, "mirror"), 'a "b" \\')
        public.host.check_output("logrotate --force /etc/logrotate.d/nginx")
        assert request in public.host.check_output("cat /var/log/nginx/access.log.1")
        assert request not in public.host.check_output("cat /var/log/nginx/access.log")
