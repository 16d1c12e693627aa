"""Plot a result of rollout.py: requests, failures and latency over time, with what happened on the host.

plot.py RESULT.json [PLOT.svg]
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

COLOURS = {"deploy": "#2a7f62", "failed": "#b23a48", "warm": "#e09f3e", "cold": "#335c81"}
OTHER = "#777777"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw it."""
    series = result["series"]
    seconds = range(len(series["requests"]))
    start = result["start"]
    mpl.rcParams["svg.hashsalt"] = "paddock"  # the same result, the same file
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(12, 6), layout="constrained")
    top.plot(seconds, series["requests"], color="#222222", linewidth=0.8, label="requests per second")
    failed = [(second, count) for second, count in zip(seconds, series["failed"], strict=True) if count]
    top.plot([second for second, _ in failed], [count for _, count in failed], "rx", label="of these failed")
    top.set_ylabel("requests per second")
    top.set_ylim(bottom=0)
    bottom.plot(seconds, series["p99_ms"], color="#222222", linewidth=0.8, label="p99 of each second")
    bottom.axhline(result["steady"]["p99_ms"], color="#222222", linestyle=":", label="p99, steady")
    bottom.axhline(
        result["steady"]["p99_ms"] * result["limits"]["ratio"], color="#b23a48", linestyle=":", label="limit of the p99"
    )
    bottom.set_yscale("log")
    bottom.set_ylabel("milliseconds")
    bottom.set_xlabel("seconds")
    named = set()
    for event in result["events"]:
        kind = event["does"].split()[0]
        label = None if kind in named else event["does"]
        named.add(kind)
        for axes in (top, bottom):
            axes.axvspan(
                event["start"] - start,
                event["end"] - start,
                color=COLOURS.get(kind, OTHER),
                alpha=0.25,
                linewidth=0,
                label=label if axes is top else None,
            )
    sent, lost = result["sent"], result["failed"]
    top.set_title(f"{sent:,} requests, {lost:,} failed; p99 during rollouts {result['ratio']} times the steady p99")
    top.legend(loc="lower right", fontsize="small")
    bottom.legend(loc="upper right", fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    plot(
        json.loads(source.read_text(encoding="utf-8")),
        Path(sys.argv[2]) if sys.argv[2:] else source.with_suffix(".svg"),
    )
