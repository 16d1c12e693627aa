"""What is made of the figures of observation."""

import dataclasses

import pytest
from observe import (
    DEAD,
    NOISE,
    PLAIN,
    SAME,
    SILENT,
    TEXT,
    TRACED,
    UNCOUNTED,
    VARIANTS,
    WORKLOAD,
    ObserveFigures,
    ObserveFleet,
    goals,
    name_of,
    tables,
    together,
)
from slices import CONNECTIONS, Slice

ROUNDS = 5
MET = [True] * 6


def measured(**changed: tuple[int, float]) -> ObserveFigures:
    """Return figures: right answers and the 99th percentile of each variant, less by a half in every other round."""
    figures = ObserveFigures(spans=10)
    given = dict.fromkeys(VARIANTS, (1000, 10.0)) | changed
    for variant, (right, p99) in given.items():
        for number in range(ROUNDS):
            share = 2 if number % 2 else 1
            figures.add(WORKLOAD.name, variant, Slice(right // share, 0, 0, 1.0, 1.0, p99 * share))
        figures.processor_us[variant] = [100_000 / right] * ROUNDS
    figures.log(TRACED, 1000, 1000, 1)
    return figures


def test_equal_variants_meet_all() -> None:
    figures = measured()
    assert [goal.met for goal in goals(figures)] == MET
    assert figures.wrong == []
    told = tables(figures, goals(figures))
    assert "| metrics, beside none | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |" in told
    assert "| traced | 1,000 | 1.0 ms | 10.0 ms | 100.0 µs |" in told
    assert "| traced | 1,000 of 1,000 |" in told


def test_what_was_not_measured_is_missed() -> None:
    assert [goal.met for goal in goals(ObserveFigures())] == [False] * 6


@pytest.mark.parametrize(
    ("variant", "figure", "missed"),
    [
        (PLAIN, (940, 10.0), ["JSON logs, beside text"]),
        (TRACED, (940, 10.0), ["traces at 1 %, beside none"]),
        (DEAD, (940, 10.0), ["traces at 1 % that nobody receives, beside none"]),
        (TRACED, (1000, 11.0), ["p99, traces at 1 %, beside none"]),
        (DEAD, (1000, 11.0), ["p99, traces at 1 % that nobody receives, beside none"]),
        # Nothing was promised of these.
        (SILENT, (2000, 1.0), []),
        (UNCOUNTED, (2000, 1.0), []),
        (TEXT, (1050, 1.0), []),
    ],
)
def test_what_costs_too_much_is_missed(variant: str, figure: tuple[int, float], missed: list[str]) -> None:
    assert [goal.name for goal in goals(measured(**{variant: figure})) if not goal.met] == missed


def test_processor_time_is_compared_round_by_round() -> None:
    figures = measured()
    figures.processor_us[TRACED] = [110.0, 100.0, 90.0, 100.0, 100.0]
    told = tables(figures, goals(figures))
    assert "| traces at 1 %, beside none | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) | 1.00 (0.90 to 1.10) |" in told


def test_noise_is_what_the_same_set_up_differs_by() -> None:
    assert [goal.met for goal in goals(measured(**{SAME: (1000, 11.5), TRACED: (1000, 11.0)}))] == MET
    # Which of the two is the faster one is chance.
    assert [goal.met for goal in goals(measured(**{SAME: (1000, 8.7), TRACED: (1000, 11.0)}))] == MET
    # One round of five says nothing.
    figures = measured(**{TRACED: (1000, 11.0)})
    slices = figures.slices[WORKLOAD.name][NOISE.one]
    slices[0] = dataclasses.replace(slices[0], p99_ms=1000.0)
    assert [goal.met for goal in goals(figures)] == [True, True, True, False, True, True]


@pytest.mark.parametrize(("spans", "met"), [(0, False), (7, False), (8, True), (12, True), (13, False), (1000, False)])
def test_traces_that_came_are_counted(spans: int, met: bool) -> None:  # noqa: FBT001
    figures = measured()
    figures.spans = spans
    assert goals(figures)[-1].met is met


@pytest.mark.parametrize(
    ("variant", "records", "right"),
    [
        (PLAIN, 1000, True),
        (PLAIN, 1000 + 2 * CONNECTIONS, True),
        (PLAIN, 999, False),
        (PLAIN, 1001 + 2 * CONNECTIONS, False),
        (SILENT, 0, True),
        (SILENT, 1, False),
    ],
)
def test_what_the_journal_lost_spoils_the_run(variant: str, records: int, right: bool) -> None:  # noqa: FBT001
    figures = ObserveFigures()
    figures.log(variant, 1000, records, 2)
    assert (not figures.wrong) is right


def test_each_variant_is_an_app_of_its_own() -> None:
    apps = ObserveFleet("13").variables()["fastapi_apps"]
    assert len({app["name"] for app in apps}) == len(apps) == len(VARIANTS)
    (text,) = [app for app in apps if app["name"] == name_of(TEXT)]
    assert text["log"]["format"] == "text"
    assert len({app["log"]["burst"] for app in apps}) == 1


def test_a_round_is_all_its_slices() -> None:
    slices = [Slice(100, 0, 0, 1.0, 1.0, 9.0), Slice(50, 1, 2, 1.0, 3.0, 8.0), Slice(90, 0, 0, 1.5, 2.0, 99.0)]
    assert together(slices) == Slice(240, 1, 2, 3.5, 2.0, 9.0)
    assert together(slices).rate == pytest.approx(240 / 3.5)
