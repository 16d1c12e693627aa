"""Plot a result of rollout.py (what was asked and answered, and what happened on the host), or of serve.py.

plot.py RESULT.json [PLOT.svg]
"""

import json
import statistics
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


def plot_serving(result: dict[str, Any], path: Path) -> None:
    """Draw the requests per second of each contestant, beside those of the bare server in the same round."""
    mpl.rcParams["svg.hashsalt"] = "paddock"
    slices = result["slices"]
    figure, plots = plt.subplots(1, len(slices), figsize=(3.2 * len(slices), 4), layout="constrained", squeeze=False)
    for axes, (workload, contestants) in zip(plots[0], slices.items(), strict=True):
        rates = {name: [each["right"] / each["seconds"] for each in counted] for name, counted in contestants.items()}
        # The limit is so far above that nothing else could be told apart.
        names = [name for name in rates if name != "nginx"]
        for place, name in enumerate(names):
            ratios = [one / bare for one, bare in zip(rates[name], rates["uvicorn"], strict=True) if bare]
            axes.bar(place, statistics.median(ratios), color="#2a7f62" if "paddock" in name else OTHER, alpha=0.6)
            axes.plot([place] * len(ratios), ratios, "k.", markersize=4)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_title(workload, fontsize="medium")
        axes.axhline(1, color="#222222", linewidth=0.8, linestyle=":")
    plots[0][0].set_ylabel("times `uvicorn`; dots are rounds")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    result = json.loads(source.read_text(encoding="utf-8"))
    draw = plot_serving if "slices" in result else plot
    draw(result, Path(sys.argv[2]) if sys.argv[2:] else source.with_suffix(".svg"))
