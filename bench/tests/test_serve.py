"""What is made of the figures of serving, and that the crowd notices what is wrong."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from plot import plot_serving
from serve import (
    BARE,
    CONCURRENT,
    JSON,
    LARGE,
    OURS,
    STANDARD,
    TUTORIAL,
    Crowd,
    ServeFigures,
    goals,
    right_answer,
    tables,
)
from slices import FILES, Slice

CROWD = Path(__file__).parents[1] / "peers/crowd.py"


def counted(right: int, wrong: int = 0, lost: int = 0) -> Slice:
    return Slice(right, wrong, lost, 2.0, 1.0, 9.0)


def measured(**changed: list[int]) -> ServeFigures:
    figures = ServeFigures(
        held=Crowd(CONCURRENT, [{"200": CONCURRENT}] * 2), shed=Crowd(9000, [{"200": 8000, "503": 1000}])
    )
    for name, rights in {
        OURS: [900, 800, 100],
        BARE: [1000, 1000, 100],
        TUTORIAL: [450, 400, 50],
        STANDARD: [450, 400, 50],
        **changed,
    }.items():
        for right in rights:
            figures.add(JSON.name, name, counted(right))
    return figures


def test_ratios_are_of_the_same_round() -> None:
    figures = measured()
    assert figures.ratios(JSON.name, OURS, BARE) == [0.9, 0.8, 1.0]
    assert figures.ratios(LARGE.name, OURS, BARE) == []
    assert [goal.met for goal in goals(figures)] == [True] * 5
    assert "0.90 (0.80 to 1.00)" in tables(figures, goals(figures))
    assert figures.wrong == []


def test_what_was_not_measured_is_missed() -> None:
    assert [goal.met for goal in goals(ServeFigures())] == [False] * 5


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({OURS: [840, 840, 84]}, "beside uvicorn"),
        ({TUTORIAL: [600, 600, 60]}, "beside tutorial"),
        ({STANDARD: [600, 600, 60]}, "beside tutorial standard"),
    ],
)
def test_slow_is_missed(changed: dict[str, list[int]], missed: str) -> None:
    (goal,) = [goal for goal in goals(measured(**changed)) if not goal.met]
    assert missed in goal.name


@pytest.mark.parametrize("steps", [[], [{"200": CONCURRENT - 1, "503": 1}], [{"200": 1, "ConnectionResetError": 1}]])
def test_one_wrong_answer_of_many_connections_is_missed(steps: list[dict[str, int]]) -> None:
    figures = measured()
    figures.held = Crowd(CONCURRENT, steps)
    assert [goal.met for goal in goals(figures)] == [True, True, True, False, True]


@pytest.mark.parametrize(
    "step",
    [
        {"200": 9000},
        {"200": 1, "503": 1, "502": 1},
        {"503": 1, "IncompleteReadError": 1},
        {"503 without Retry-After": 9},
    ],
)
def test_only_clean_answers_shed(step: dict[str, int]) -> None:
    figures = measured()
    figures.shed = Crowd(9000, [step])
    assert [goal.met for goal in goals(figures)] == [True, True, True, True, False]


@pytest.mark.parametrize("slice_", [counted(9, wrong=1), counted(9, lost=1), counted(0)])
def test_a_slice_with_a_failure_is_wrong(slice_: Slice) -> None:
    figures = ServeFigures()
    figures.add(JSON.name, OURS, slice_)
    assert len(figures.wrong) == 1


def test_the_plot(tmp_path: Path) -> None:
    slices = {JSON.name: {OURS: [{"right": 9, "seconds": 2}], BARE: [{"right": 10, "seconds": 2}]}}
    plot_serving({"slices": slices}, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size


async def crowd(answers: list[bytes]) -> Crowd:
    """Have one connection ask a server that gives these answers, one after the other, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        steps = [f"/json {right_answer('/json')}"] * len(answers)
        process = await asyncio.create_subprocess_exec(
            sys.executable, CROWD, str(port), "x.test", "1", "0", *steps, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    return Crowd(**json.loads(output))


def test_the_crowd_compares_every_answer() -> None:
    def answer(status: str, body: str, *headers: str) -> bytes:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join([*lines, "", body]).encode()

    found = asyncio.run(
        crowd(
            [
                answer("200 OK", FILES["json"]),
                answer("200 OK", "{}"),
                answer("503 Busy", "", "Retry-After: 60"),
                answer("503 Busy", ""),
                answer("502 Bad", ""),
                b"HTTP/1.1 200 OK\r\n",
            ]
        )
    )
    outcomes = [next(iter(step)) for step in found.steps]
    assert outcomes == ["200", "wrong body", "503", "503 without Retry-After", "502", "IncompleteReadError"]
    assert right_answer("/sleep?seconds=5.0") == '{"seconds":5.0}'
