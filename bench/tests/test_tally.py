"""Counting, phases and latencies."""

import math

from tally import Kind, Latency, Phase, Span, Tally, Timeline, percentile


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 99) == 99
    assert percentile(values, 50) == 50
    assert percentile([7.0], 99) == 7
    assert Latency.of([]) is None


def test_a_request_belongs_to_the_highest_phase_that_it_touches() -> None:
    timeline = Timeline(
        [
            Span(Phase.WARMUP, 0, 10),
            Span(Phase.ROLLOUT, 20, 30),
            Span(Phase.RETIRE, 30, 40),
            Span(Phase.ROLLOUT, 35, 38),
        ]
    )
    assert timeline.phase(5, 1) == Phase.WARMUP
    assert timeline.phase(15, 1) == Phase.STEADY
    assert timeline.phase(19, 2) == Phase.ROLLOUT
    assert timeline.phase(19, 30) == Phase.ROLLOUT
    assert timeline.phase(29.5, 1) == Phase.ROLLOUT
    assert timeline.phase(31, 1) == Phase.RETIRE
    assert timeline.phase(36, 1) == Phase.ROLLOUT
    assert timeline.phase(38.5, 1) == Phase.RETIRE
    assert timeline.phase(41, 1) == Phase.STEADY
    assert timeline.phase(-5, 1) == Phase.STEADY
    assert Timeline([]).phase(1, 1) == Phase.STEADY


def test_what_nobody_knows_of_is_a_failure() -> None:
    tally = Tally()
    client = tally.client("GET")
    client.sent = 3
    tally.right(client, 0, 0.1)
    tally.failed(client, Kind.STATUS, "502", at=0)
    tally.close()
    assert (client.right, client.failed, client.unaccounted) == (1, 2, 0)
    assert tally.kinds() == {Kind.STATUS: 1, Kind.LOST: 1}


def test_latencies_of_streams_are_not_judged() -> None:
    tally = Tally()
    for name, judged, took in (("GET", True, 0.1), ("SSE", False, 9)):
        client = tally.client(name, is_request=judged)
        client.sent += 1
        tally.right(client, 0, took)
    steady = tally.by_phase(Timeline([]))[Phase.STEADY]
    assert steady is not None
    assert (steady.count, steady.longest) == (1, 0.1)
    assert tally.sent == 2
    assert tally.within(0, 1) == [0.1]
    assert tally.within(2, 3) == []


def test_series_show_each_second() -> None:
    tally = Tally()
    client = tally.client("GET")
    for at in (100.1, 100.2, 102.5):
        tally.right(client, at, 0.25)
    tally.failed(client, Kind.RESET, "reset", at=102.9)
    series = tally.series(100, 103)
    assert series["requests"] == [2, 0, 2]
    assert series["failed"] == [0, 0, 1]
    assert series["p99_ms"][0] == 250
    assert math.isnan(series["p99_ms"][1])
