"""What an instance tells of itself, in both process models: its logs, its metrics, its traces, and that it is to end.

The tests build on each other: the first ones find the instances as they were started.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

REQUESTS = 10_000
SLOW = 8  # of them
SPANS = "/run/spans.jsonl"  # on the host
BOTH = pytest.mark.parametrize("app", ["shop", "kiosk"])
SERVICES = {"shop": "shop", "kiosk": "kiosk-web"}
WITHIN = ("dependencies", "endpoint", "serialization")
BEGUN: dict[str, str] = {}
ASK = "curl -sk --max-time 20 --connect-to ::127.0.0.1: "


def release_of(host: Host, app: str) -> str:
    return Path(host.check_output("readlink /srv/%s/current", app)).name


def ask(host: Host, app: str, path: str, options: str = "") -> str:
    """Ask an app through NGINX, on its host."""
    return str(host.check_output(f"{ASK} {options} https://{app}.test{path}"))


@pytest.fixture(autouse=True)
def begun(host: Host) -> None:
    """Remember when a host's first test began: what was logged before is of an earlier run."""
    name = host.backend.get_pytest_id()
    if name not in BEGUN:
        BEGUN[name] = host.check_output("date +%s")
        time.sleep(1)


def records(host: Host, app: str, matches: str = "", since: str = "") -> list[dict[str, Any]]:
    """Return the journal's entries of an app's instances, those that match. since: if not of these tests alone."""
    since = since or BEGUN[host.backend.get_pytest_id()]
    output = host.check_output("journalctl -q -o json --all --since @%s PADDOCK_APP=%s", since, app)
    return [json.loads(line) for line in output.splitlines() if re.search(matches, line)]


def eventually(found: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for something that takes its time on its way, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.5)
    return value


def host_says(host: Host, command: str) -> bool:
    return bool(host.run(command).rc == 0)


def samples(host: Host, app: str, options: str = "") -> dict[str, float]:
    """Return what /metrics says: values by name and labels."""
    lines = ask(host, app, "/metrics", options).splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and line[0] != "#"}


def unit_of(host: Host, app: str) -> str:
    return f"{app}@{release_of(host, app)}.service"


# What prints the workers of a UNIT.
WORKERS = "pgrep --parent $(systemctl show --value --property MainPID UNIT) --full 'serve.py|multiprocessing.spawn'"


def workers(host: Host, app: str) -> list[int]:
    return [int(pid) for pid in host.run(WORKERS.replace("UNIT", unit_of(host, app))).stdout.split()]


def serves(host: Host, app: str) -> bool:
    """Tell whether all workers are there, and an instance answers."""
    return len(workers(host, app)) == 4 and host.run(f"{ASK} --fail https://{app}.test/healthz").rc == 0


def route(template: str, status: int = 200) -> str:
    """Return the name of the number of requests to a route."""
    labels = f'http_request_method="GET",http_response_status_code="{status}",http_route="{template}"'
    return f"http_server_request_duration_seconds_count{{{labels}}}"


@contextmanager
def receiver(host: Host) -> Iterator[None]:
    """Run a receiver of traces on the host, with the definition that came with the exporter."""
    python = "/srv/shop/current/venv/bin/python"
    host.check_output(
        "rm -f %s && systemd-run --quiet --collect --unit receiver %s /opt/receiver.py 4318 %s", SPANS, python, SPANS
    )
    try:
        eventually(lambda: host.run("curl -s http://127.0.0.1:4318/").rc == 0)
        yield
    finally:
        host.check_output("systemctl stop receiver")


def spans(host: Host, matches: str) -> list[dict[str, Any]]:
    found = host.run("grep -e %s %s", matches, SPANS).stdout
    return [json.loads(line) for line in found.splitlines()]


# -- logs -----------------------------------------------------------------------------------------------------------


@BOTH
def test_a_record_is_one_line_with_what_it_takes_to_find_it(host: Host, app: str) -> None:
    ask(host, app, "/items/7")
    (entry,) = eventually(lambda: records(host, app, "item 7"))
    release = release_of(host, app)
    message = json.loads(entry["MESSAGE"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message.pop("time"))
    assert re.fullmatch(r"[0-9a-f]{32}", message.pop("request_id"))
    assert re.fullmatch(r"[0-9a-f]{32}", message.pop("trace_id"))
    assert re.fullmatch(r"[0-9a-f]{16}", message.pop("span_id"))
    assert message.pop("pid") in workers(host, app)
    assert message == {
        "level": "INFO",
        "logger": "observed",
        "message": "item 7",
        "app": app,
        "release": release,
        "extra": {"number": 7},
    }
    assert (entry["PADDOCK_APP"], entry["PADDOCK_RELEASE"], entry["PRIORITY"]) == (app, release, "6")
    by_unit = host.check_output("journalctl -q -o cat -u %s --grep %s", f"{app}@{release}", "item 7")
    assert by_unit.splitlines()[-1] == entry["MESSAGE"]


@BOTH
def test_levels_are_those_of_the_journal_and_reach_threads(host: Host, app: str) -> None:
    ask(host, app, "/thread/8")
    (entry,) = eventually(lambda: records(host, app, "thread 8"))
    message = json.loads(entry["MESSAGE"])
    assert (message["level"], entry["PRIORITY"]) == ("WARNING", "4")
    assert re.fullmatch(r"[0-9a-f]{32}", message["request_id"])
    assert not records(host, app, "not shown")


@BOTH
def test_a_traceback_is_one_record(host: Host, app: str) -> None:
    assert ask(host, app, "/boom", "-o /dev/null -w '%{http_code}'") == "500"
    (entry,) = eventually(lambda: records(host, app, "RuntimeError: boom"))
    message = json.loads(entry["MESSAGE"])
    assert (message["logger"], message["message"], entry["PRIORITY"]) == (
        "uvicorn.error",
        "Exception in ASGI application",
        "3",
    )
    assert message["exception"].startswith("Traceback (most recent call last):\n")
    assert message["exception"].endswith("RuntimeError: boom")
    assert re.fullmatch(r"[0-9a-f]{32}", message["request_id"])


@BOTH
def test_what_is_too_long_for_the_journal_is_cut_and_stays_one_record(host: Host, app: str) -> None:
    ask(host, app, "/long")
    (entry,) = eventually(lambda: records(host, app, "long "))
    message = json.loads(entry["MESSAGE"])
    assert message["cut"] is True
    assert re.fullmatch(r"long ü+ \[\.\.\.\] ü+", message["message"])


@BOTH
def test_all_that_an_instance_says_is_json(host: Host, app: str) -> None:
    entries = [entry for entry in records(host, app, since="0") if entry.get("_TRANSPORT") == "stdout"]
    texts = [json.loads(entry["MESSAGE"]) for entry in entries]
    assert {"uvicorn.error", "observed"} | ({"gunicorn.error"} if app == "shop" else set()) <= {
        text["logger"] for text in texts
    }


def test_an_app_that_configures_logging_is_left_alone(host: Host) -> None:
    ask(host, "own", "/items/1")
    ask(host, "own", "/thread/2")
    (entry,) = eventually(lambda: records(host, "own", "thread 2"))
    assert entry["MESSAGE"] == "OWN WARNING thread 2"
    assert not records(host, "own", "item 1")  # basicConfig has no level, so it is the one that Python begins with
    # The server is not the app's: it logs warnings at least, for people.
    assert not records(host, "own", "Application startup complete")
    assert [entry["MESSAGE"] for entry in records(host, "own") if "gunicorn" in entry["MESSAGE"]] == []
    properties = host.check_output(
        "systemctl show -p LogRateLimitBurst -p RuntimeDirectory own@%s", release_of(host, "own")
    )
    assert set(properties.splitlines()) == {"LogRateLimitBurst=500", "RuntimeDirectory="}
    assert ask(host, "own", "/metrics", "-o /dev/null -w '%{http_code}'") == "404"


# -- traces, and the request's name in all three --------------------------------------------------------------------


@BOTH
def test_one_id_finds_a_request_in_access_log_app_log_and_trace(host: Host, app: str) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with receiver(host):
        # Who has found that nobody receives leaves it at that for a while; new workers have not.
        host.check_output("systemctl restart %s", unit_of(host, app))
        assert ask(host, app, "/healthz")
        sent = f"-H 'traceparent: 00-{trace}-b7ad6b7169203331-01'"
        assert json.loads(ask(host, app, "/items/4711", sent))["number"] == 4711
        (record,) = [json.loads(entry["MESSAGE"]) for entry in eventually(lambda: records(host, app, "item 4711"))]
        name = record["request_id"]
        line = eventually(lambda: host.run("grep --fixed-strings %s /var/log/nginx/access.log", name).stdout)
        found = eventually(lambda: [span for span in spans(host, name) if span["kind"] == 2])
    (span,) = found
    # FastAPI's spans within it are for those who asked for them.
    within = {each["name"] for each in spans(host, trace) if each["resource"]["paddock.app"] == app and each != span}
    assert within == ({f"fastapi.{name}" for name in WITHIN} if app == "kiosk" else set())
    access = json.loads(line)
    assert (access["path"], access["request_id"], access["release"]) == ("/items/4711", name, record["release"])
    assert span["attributes"]["http.request.header.x-request-id"] == [name]
    assert (span["name"], span["attributes"]["http.route"]) == ("GET /items/{number}", "/items/{number}")
    # The trace of who asked goes on here, and the log knows it.
    assert (span["trace"], span["parent"], record["trace_id"]) == (trace, "b7ad6b7169203331", trace)
    about = {name: span["resource"][name] for name in ("service.name", "service.version", "paddock.app", "host.name")}
    assert about == {
        "service.name": SERVICES[app],
        "service.version": record["release"],
        "paddock.app": app,
        "host.name": host.check_output("hostname"),
    }


# -- metrics --------------------------------------------------------------------------------------------------------


@BOTH
def test_what_the_figures_are(host: Host, app: str) -> None:
    for path in ("/inner/a", "/inner/b", "/nowhere", "/items/no-number"):
        ask(host, app, path)
    found = samples(host, app)
    assert found[route("/inner/{name}")] == 2
    assert found[route("", 404)] == 1
    assert found[route("/items/{number}", 422)] == 1
    assert found[f'paddock_release_info{{app="{app}",release="{release_of(host, app)}"}}'] == 1
    live = set(workers(host, app))
    assert len(live) == 4
    for name in (
        "event_loop_lag_seconds",
        "process_cpu_seconds",
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "http_server_active_requests",
    ):
        assert {int(pid) for pid in re.findall(rf'{name}{{pid="(\d+)"}}', "\n".join(found))} == live
    assert not [name for name in found if "metrics" in name]


@BOTH
def test_an_event_loop_that_is_held_up_is_seen(host: Host, app: str) -> None:
    ask(host, app, "/block?seconds=1.5")

    def lag() -> float:
        return max(value for name, value in samples(host, app).items() if name.startswith("event_loop_lag_seconds"))

    eventually(lambda: lag() > 1.2)


def test_metrics_are_for_the_host_itself(host: Host) -> None:
    address = host.check_output("hostname -I").split()[0]
    command = f"curl -sk -o /dev/null -w '%{{http_code}}' --connect-to ::{address}: https://shop.test"
    assert host.check_output(f"{command}/metrics") == "403"
    assert host.check_output(f"{command}/healthz") == "200"


# -- readiness ------------------------------------------------------------------------------------------------------


@BOTH
def test_an_instance_that_is_to_end_is_not_ready(host: Host, app: str) -> None:
    """It finishes what is under way, and a load balancer that asks meanwhile is told to go elsewhere."""
    unit = unit_of(host, app)
    direct = f"curl -s --max-time 5 --unix-socket /srv/{app}/current/app.sock -i http://{app}.test/healthz"
    assert "200 OK" in host.check_output(direct)
    slow = f"{ASK} -w '%{{http_code}}' 'https://{app}.test/slow?seconds=5' >/run/slow"
    # All of it by the host itself: to get in may take longer than the instance takes to end.
    answers = host.check_output(
        f"{slow} & sleep 1; systemctl restart --no-block {unit}; for _ in $(seq 30); do {direct}; sleep 0.1; done"
    )
    (answer, *_) = re.findall(r"503 Service Unavailable[^{]*", answers)
    assert "retry-after: 5" in answer.lower()
    eventually(lambda: "200 OK" in host.run(direct).stdout)
    eventually(lambda: host.check_output("cat /run/slow").endswith("200"))


# -- what goes wrong --------------------------------------------------------------------------------------------------


@BOTH
def test_a_receiver_that_is_away_costs_spans_and_nothing_else(host: Host, app: str) -> None:
    """Also not the end of an instance, which sends what it has left."""
    unit = unit_of(host, app)
    assert host.run("curl -s http://127.0.0.1:4318/").rc == 7
    command = f"{ASK} -o /dev/null -w '%{{http_code}} %{{time_total}}\\n' 'https://{app}.test/items/[1-300]'"
    answers = [line.split() for line in host.check_output(command).splitlines()]
    assert {status for status, _ in answers} == {"200"}
    assert sorted(float(seconds) for _, seconds in answers)[290] < 0.5
    # A worker says that it could not send, after it has tried for ten seconds, but not for each request.
    complaints = eventually(lambda: records(host, app, r"opentelemetry\.exporter"), 30)
    assert len(complaints) < 100
    host.check_output("systemctl restart %s", unit)
    told, ended = (
        int(host.check_output("systemctl show --value --property %s %s", f"{moment}TimestampMonotonic", unit))
        for moment in ("ActiveExit", "InactiveEnter")
    )
    assert 0 < ended - told < 9e6, "microseconds"
    eventually(lambda: ask(host, app, "/healthz", "-o /dev/null -w '%{http_code}'") == "200")


def only_sums_are_left(host: Host, app: str, ended: set[int]) -> bool:
    """Tell whether of workers that have ended there are only the sums, once somebody has asked."""
    samples(host, app)
    files = host.check_output("ls /run/paddock-%s/%s", app, release_of(host, app)).split()
    owners = {int(name.rpartition("_")[2].removesuffix(".db")) for name in files}
    return 0 in owners and not owners & ended


# The load pauses until all of it is answered. Then one worker is killed, while slow requests that came since wait in
# their endpoints: NGINX has others answer them. At any other moment a kill could, once in a while, come in the few
# microseconds between an answer and its count.
KILL = f"""
    systemctl kill --signal=STOP load-APP && sleep 1
    {ASK} --parallel --parallel-max {SLOW} -o /dev/null -w '%{{http_code}}\\n' \\
        'https://APP.test/items/[1-{SLOW}]?seconds=4' >/run/slow-APP &
    sleep 2
    {WORKERS} | head -n 1 | tee /run/killed-APP | xargs kill -9
    systemctl kill --signal=CONT load-APP
    wait
    cat /run/killed-APP
"""


def test_figures_of_all_workers_are_added_up_while_some_end(host: Host) -> None:
    """10,000 requests to four workers, of which two or more are recycled and one is killed; two such apps at once."""
    before, killed = {}, {}
    since = host.check_output("date +%s")
    for app in SERVICES:
        # The folder is emptied, and counts begin at nothing.
        host.check_output("systemctl restart %s", unit_of(host, app))
        eventually(partial(serves, host, app))
        before[app] = set(workers(host, app))
    for app in SERVICES:
        # Slow enough that they can take turns in being recycled.
        script = (
            f"{ASK} --parallel --parallel-max 8 -o /dev/null -w '%{{http_code}}\\n' "
            f"'https://{app}.test/items/[1-{REQUESTS - SLOW}]?seconds=0.03' >/run/codes-{app}"
        )
        host.check_output("systemd-run --quiet --collect --unit load-%s --property Type=exec sh -c %s", app, script)
    for app in SERVICES:
        eventually(partial(host_says, host, f"test $(wc -l </run/codes-{app}) -gt 1000"))
        script = KILL.replace("APP", app).replace("UNIT", unit_of(host, app))
        killed[app] = int(host.check_output(script))
    for app in SERVICES:
        eventually(partial(host_says, host, f"! systemctl is-active load-{app}"), 180)
        codes = host.check_output("sort /run/codes-%s /run/slow-%s | uniq -c", app, app)
        assert codes.split() == [str(REQUESTS), "200"]
        gone = before[app] - set(workers(host, app)) - {killed[app]}
        assert len(gone) >= 2, f"of {before[app]}, {gone} were recycled"
        for _ in range(8):  # whichever worker is asked
            found = samples(host, app)
            assert found[route("/items/{number}")] == REQUESTS
            assert found["items_seen_total"] == REQUESTS
        # Nothing of those that ended is left but their sums, and nothing that was logged was dropped. One that has just
        # ended is there until its server has noticed.
        release = release_of(host, app)
        eventually(partial(only_sums_are_left, host, app, gone | {killed[app]}))
        grep = 'journalctl -q -o cat -u %s --since @%s | grep -c \'"message":"item \''
        assert int(host.check_output(grep, f"{app}@{release}", since)) == REQUESTS
