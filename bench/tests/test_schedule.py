"""The changes of the sample app, and what is made of a run."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from host import Paddock
from load import Load, Target
from plot import plot
from rollout import SIZES, Bench, Done, tables
from schedule import BREAKAGES, SCHEDULES, Does, Event, schedule, write_app
from tally import Kind


def test_the_whole_schedule_is_what_the_promise_names() -> None:
    events = SCHEDULES["full"]
    count = {does: sum(event.does == does for event in events) for does in Does}
    # One deploy more than promised: what was rolled back from is bad, so each rollback uses one up.
    assert (count[Does.DEPLOY], count[Does.WARM], count[Does.COLD]) == (6, 3, 3)
    assert {event.breaks for event in events if event.does == Does.FAIL} == set(BREAKAGES)


def test_rollbacks_are_left_out_as_long_as_there_is_no_playbook(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("schedule.CLONE", tmp_path)
    assert {event.does for event in schedule("full")} == {Does.DEPLOY, Does.FAIL}
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/rollback.yml").touch()
    assert schedule("full") == SCHEDULES["full"]


@pytest.mark.parametrize("breaks", ["", *BREAKAGES])
def test_a_changed_app_is_still_python(tmp_path: Path, breaks: str) -> None:
    write_app(tmp_path / "app", "m7", breaks)
    assert '"m7"' in (tmp_path / "app/notes/routes/health.py").read_text()
    subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path / "app"], check=True)


def a_run() -> Bench:
    load = Load(Target("https://localhost"))
    events = [Event(Does.DEPLOY), Event(Does.FAIL, "import error")]
    bench = Bench(Paddock("13", folder=Path("/nonexistent"), standby=2), SIZES["quick"], events, load)
    client = load.tally.client("GET kept")
    for number in range(1000):
        client.sent += 1
        load.tally.right(client, 100 + number / 20, 0.01)
    bench.done = [Done(events[0], 120, 125), Done(events[1], 135, 140)]
    return bench


def result(bench: Bench) -> dict[str, object]:
    return bench.result(100, 105, 150, {})


def test_a_run_in_which_all_held(tmp_path: Path) -> None:
    summed = result(a_run())
    assert summed["missed"] == []
    assert (summed["sent"], summed["failed"], summed["ratio"]) == (1000, 0, 1.0)
    plot(json.loads(json.dumps(summed)), tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 1000
    assert "1000 requests" in tables(summed)


def test_one_failed_request_is_one_too_many() -> None:
    bench = a_run()
    bench.load.tally.failed(bench.load.tally.client("GET kept"), Kind.STATUS, "502", at=121)
    bench.load.tally.client("GET kept").sent += 1
    summed = result(bench)
    assert summed["missed"] == ["1 of 1001 requests failed; there should be none"]
    assert [event["failed"] for event in summed["events"]] == [1, 0]  # type: ignore[attr-defined]
    assert "failed: 1 status" in tables(summed)


def test_slow_rollouts_are_named() -> None:
    bench = a_run()
    client = bench.load.tally.client("GET kept")
    for _ in range(50):
        client.sent += 1
        bench.load.tally.right(client, 121, 0.031)
    assert result(bench)["missed"] == ["p99 during rollouts is 3.1 times the steady p99; at most 3 times is good"]


def test_events_that_end_otherwise_are_named() -> None:
    bench = a_run()
    bench.done = [Done(bench.events[0], 120, 125, "nobody was answered m1")]
    assert result(bench)["missed"] == [
        "deploy: nobody was answered m1",
        "1 of 2 events: the run was stopped",
    ]


def test_a_stopped_load_ends_the_waiting() -> None:
    async def stopped() -> bool:
        bench = a_run()
        bench.load.stop.set()
        return await bench.wait(60, asyncio.create_task(asyncio.sleep(0)))

    assert asyncio.run(stopped())
