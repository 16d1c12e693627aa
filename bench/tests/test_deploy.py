"""What is made of the figures of a comparison, and how the ways are set up."""

import asyncio
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy import (
    ANSWERS,
    CHANGE,
    CHANGES,
    COLD,
    KILLED,
    QUICK,
    ROLLBACKS,
    SAME,
    START,
    WARM,
    Figures,
    Loss,
    Trial,
    as_json,
    goals,
    table,
)
from host import Fleet, Host, HostError, Ran, through_tcp
from tally import Kind, Tally
from ways import WAYS, Tutorial, Way, merged, way_of

NOTHING_LOST = Loss(4, 1000, 0, 0.0, 0.2, "GET", {})


def all_met() -> Figures:
    return Figures(
        {SAME: [9.0, 3.5, 1.0], ANSWERS: [7.0], WARM: [3.5], START: [1.0], COLD: [6.0]},
        {CHANGES: NOTHING_LOST, ROLLBACKS: NOTHING_LOST},
    )


def missed(figures: Figures) -> list[str]:
    return [goal.name for goal in goals(figures) if not goal.met]


def test_targets_hold_for_medians_and_up_to_their_limits() -> None:
    assert missed(all_met()) == []


@pytest.mark.parametrize(
    ("row", "seconds", "name"),
    [
        (SAME, 3.6, "`deploy`, nothing changed"),
        (ANSWERS, 7.1, "code change, the new release answers"),
        (WARM, 3.6, "warm rollback"),
        (COLD, 6.1, "cold rollback"),
        (START, 0.9, "cold rollback"),
    ],
)
def test_each_target_can_be_missed(row: str, seconds: float, name: str) -> None:
    figures = all_met()
    figures.seconds[row] = [seconds]
    assert missed(figures) == [name]


@pytest.mark.parametrize("row", [CHANGES, ROLLBACKS])
def test_one_lost_request_is_one_too_many(row: str) -> None:
    figures = all_met()
    figures.losses[row] = Loss(4, 1000, 1, 0.02, 0.2, "GET", {"reset": 1})
    assert missed(figures) == [f"requests, {row}"]
    figures.losses[row] = Loss(4, 0, 0, 0.0, math.inf, "", {})
    assert missed(figures) == [f"requests, {row}"]


def test_what_was_not_measured_is_missed() -> None:
    assert len(missed(Figures())) == len(goals(Figures())) == 6
    assert {goal.value for goal in goals(Figures())} == {"not measured"}


def a_tally(*right: tuple[float, float], failed: tuple[float, ...] = ()) -> Tally:
    tally = Tally()
    client = tally.client("GET")
    client.sent = len(right) + len(failed)
    for start, end in right:
        tally.right(client, start, end - start)
    for at in failed:
        tally.failed(client, Kind.STATUS, "502", at=at)
    return tally


@pytest.mark.parametrize(
    ("tally", "seconds"),
    [
        (a_tally((1, 2), (3, 9)), 0),
        # Nobody was answered from 2 to 5, whenever others failed in between.
        (a_tally((1, 1.5), (4, 5), failed=(2, 2.5, 3)), 3),
        # One that waits does not hide that another one was answered soon.
        (a_tally((2.1, 9), (2.5, 2.6), failed=(2,)), 0.6),
        # What was asked before it failed says nothing.
        (a_tally((1, 2.1), (7, 8), failed=(2,)), 6),
        (a_tally((1, 1.5), (3, 3.5), (6, 6.5), failed=(2, 4)), 2.5),
        (a_tally((1, 3), failed=(2,)), math.inf),
    ],
)
def test_an_outage_ends_when_somebody_who_asked_later_is_answered(tally: Tally, seconds: float) -> None:
    assert tally.longest_outage() == pytest.approx(seconds)


def test_what_waits_on_purpose_ends_no_outage() -> None:
    tally = a_tally((6, 7), failed=(2,))
    tally.right(tally.client("GET that waits", is_request=False), 3, 0.1)
    assert tally.longest_outage() == 5


def test_a_loss_sums_up_a_tally() -> None:
    loss = Loss.of(a_tally((1, 1.5), (4, 5), failed=(2, 3)), 1)
    assert loss == Loss(1, 4, 2, 3, 1, "GET", {"status": 2})
    assert Loss.of(Tally(), 1).slowest == math.inf


def test_the_table_has_a_column_for_each_way() -> None:
    peer = Figures({SAME: [12.0]}, {KILLED: Loss(1, 100, 40, math.inf, 0.1, "GET", {})}, (0, False))
    ours = all_met()
    ours.broken = (2, True)
    lines = table({"paddock": ours, "tutorial": peer}).splitlines()
    assert {line.count("|") for line in lines} == {4}
    assert "| nothing changed | 3.5 s | 12.0 s |" in lines
    assert "| broken release (import error) | exit code 2, serves | exit code 0, down until fixed |" in lines
    assert any("0 of 1,000 failed" in line for line in lines)
    assert any("40 of 100 failed, down to the end" in line for line in lines)


def test_the_json_has_no_infinity() -> None:
    figures = Figures(losses={KILLED: Loss(1, 100, 40, math.inf, 0.1, "GET", {})})
    assert json.loads(json.dumps(as_json(figures), allow_nan=False))["losses"][KILLED]["outage"] is None


def test_all_ways_install_the_same_packages(tmp_path: Path) -> None:
    texts = set()
    for name in WAYS:
        way = way_of(name, "13", 1)
        way.fleet.folder.rmdir()
        way.fleet.folder = tmp_path / name
        way.write("m7")
        texts.add((way.fleet.source / "requirements.txt").read_text())
    (text,) = texts
    assert text.count("\nwebsockets==") == text.count("\ngunicorn==") == text.count("\nfastapi==") == 1


def test_requirements_are_merged_whole() -> None:
    have = "# made\na==1 \\\n    --hash=sha256:1\n    # via b\n"
    more = "# made\na==2 \\\n    --hash=sha256:2\nB.c==3 ; python_version < '4' \\\n    --hash=sha256:3\n"
    assert merged(have, more) == f"{have}B.c==3 ; python_version < '4' \\\n    --hash=sha256:3\n"


def test_only_the_first_host_is_deployed_to_until_all_are() -> None:
    way = way_of(Tutorial.name, "13", 4)
    way.fleet.folder.rmdir()
    names = [host.name for host in way.fleet.hosts]
    assert len(set(names)) == 4
    assert len({port for host in way.fleet.hosts for port in (host.port, host.ssh_port)}) == 8
    assert way.limit == ["--limit", names[0]]
    way.everywhere = True
    assert way.limit == []


CONFIGURATION = """Host a
  HostName paddock-a
  ProxyCommand here podman exec -i paddock-a sshd -i

Host ab
  HostName paddock-ab
  ProxyCommand here podman exec -i paddock-ab sshd -i

Host *
  User root
"""


def test_hosts_are_reached_through_tcp() -> None:
    hosts = [f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n\n" for name, port in (("a", 1022), ("ab", 1023))]
    assert through_tcp(CONFIGURATION, {"a": 1022, "ab": 1023}) == f"{hosts[0]}{hosts[1]}Host *\n  User root\n"
    with pytest.raises(HostError, match="something new about c"):
        through_tcp(CONFIGURATION, {"c": 1})


@dataclass
class Answers(Way):
    """A way that only says how it ended; what then answers is somebody else's."""

    code: int = 0

    name = "answers"

    def write(self, marker: str, breaks: str = "") -> None:
        """Write nothing."""

    async def deploy(self, marker: str) -> Ran:
        """Deploy nothing."""
        return Ran(self.code, f"{marker} was deployed", 100, 102.5)


def a_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *answers: str, code: int = 0) -> Trial:
    """Return a trial in which m0 is live, and the listener answers these markers, the last one for ever."""
    left = list(answers)

    async def answer(_: Host) -> str:
        return left.pop(0) if left[1:] else left[0]

    monkeypatch.setattr("deploy.ask_marker", answer)
    monkeypatch.setattr("deploy.APPEARS", 0.3)
    monkeypatch.setattr("deploy.BROKEN_AFTER", 0.0)
    trial = Trial(Answers(Fleet("13", folder=tmp_path), code=code), QUICK)
    trial.write()
    return trial


def test_a_change_takes_its_time_and_the_time_until_it_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trial = a_trial(monkeypatch, tmp_path, "m0", "", "m1")
    asyncio.run(trial.change(CHANGE, ANSWERS))
    assert trial.figures.seconds[CHANGE] == [2.5]
    assert trial.figures.seconds[ANSWERS] == [pytest.approx(0.2, abs=0.15)]


def test_a_success_that_goes_on_with_the_old_code_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trial = a_trial(monkeypatch, tmp_path, "m0")
    with pytest.raises(HostError, match="it succeeded, but m1 does not answer"):
        asyncio.run(trial.change(CHANGE, ANSWERS))


def test_a_command_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trial = a_trial(monkeypatch, tmp_path, "m1", code=4)
    with pytest.raises(HostError, match="exit code 4: m1 was deployed"):
        asyncio.run(trial.change(CHANGE, ANSWERS))


@pytest.mark.parametrize(("answers", "serves"), [(["m0"], True), (["m0", ""], False), (["m1"], False)])
def test_a_broken_release_leaves_the_site_up_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: list[str], *, serves: bool
) -> None:
    trial = a_trial(monkeypatch, tmp_path, *answers, code=2)
    assert asyncio.run(trial.break_it()) == (2, serves)
