"""What is said about the runs: table, picture and files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from word2vec.evaluate import Score, mean_score

from deepwalk.scores import principal_axes
from deepwalk.walks import Graph, Labels

NAMED = 100
NEAR = 0.05


@dataclass
class Row:
    """What was found at one width; each list has an entry for each repeat, or is empty.

    Attributes:
        width: of the network; infinite for the limit.
        loss: the mean over the last tenth of the positions.
        accuracy: number of voters -> share of nodes whose label is found.
        correlation: of the cosines of all pairs of nodes with those in the limit.
        repeatability: the same between two repeats, of every other repeat with the one before.
        seconds: wall time.
    """

    width: float
    loss: list[float] = field(default_factory=list)
    accuracy: dict[int, list[float]] = field(default_factory=dict)
    correlation: list[float] = field(default_factory=list)
    repeatability: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def table(rows: list[Row]) -> str:
    """One line for each width: means over repeats, with standard errors."""
    voters = list(rows[0].accuracy)
    head = ["width", "final loss", *(f"accuracy %, {count} nearest" for count in voters), "correlation with limit",
            "between repeats", "seconds"]
    lines = [[f"{row.width:g}", _shown(row.loss, 4), *(_shown(row.accuracy[count], 1, 100) for count in voters),
              _shown(row.correlation, 4), _shown(row.repeatability, 4), f"{sum(row.seconds):.1f}"] for row in rows]
    sizes = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(size) for cell, size in zip(line, sizes, strict=True))
                     for line in (head, *lines))


def _shown(values: list[float], digits: int, scale: float = 1.0) -> str:
    score = _score(values)
    if not score.count:
        return "-"
    text = f"{scale * score.value:.{digits}f}"
    return text if math.isnan(score.error) else f"{text} +- {scale * score.error:.{digits}f}"


def _score(values: list[float]) -> Score:
    return mean_score(np.array(values))


def write_results(out: Path, rows: list[Row], names: tuple[str, ...], gram: np.ndarray) -> None:
    """`table.txt`; `results.npz`, every array with a row for each width and a column for each repeat; and
    `embedding.npz`: `names` of the nodes and `gram` [nodes, nodes]."""
    (out / "table.txt").write_text(table(rows) + "\n", encoding="utf-8")
    voters = {f"accuracy_{count}": np.array([row.accuracy[count] for row in rows]) for count in rows[0].accuracy}
    limit = [row.correlation or [np.nan] * len(row.loss) for row in rows]
    np.savez(out / "results.npz", width=np.array([row.width for row in rows]), loss=np.array([r.loss for r in rows]),
             correlation=np.array(limit), repeatability=np.array([row.repeatability for row in rows]),
             seconds=np.array([row.seconds for row in rows]), **voters)
    np.savez(out / "embedding.npz", names=np.array(names), gram=gram)


# --- picture -------------------------------------------------------------------------------------------------


def draw(path: Path, rows: list[Row], graph: Graph, labels: Labels | None, gram: np.ndarray, title: str) -> None:
    """The embedding with the Gram matrix `gram` [nodes, nodes] on its principal axes, and the distance of networks from
    the limit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    FigureCanvasAgg(figure)
    embedding, distance = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_embedding(embedding, graph, labels, gram)
    embedding.set_title(title)
    _draw_distance(distance, [row for row in rows if row.correlation])
    figure.savefig(path, dpi=150)


def _draw_embedding(axes, graph: Graph, labels: Labels | None, gram: np.ndarray) -> None:
    points, share = principal_axes(gram)
    thin = min(0.6, 10 / np.sqrt(len(graph.edges)))
    axes.plot(*points[graph.edges].transpose(2, 1, 0), color="0.8", linewidth=thin, zorder=1)
    number = np.full(len(graph), -1) if labels is None else labels.number
    size = 50 if len(graph) <= NAMED else 12
    for label in np.unique(number):
        name, color = ("no label", "0.6") if label < 0 else (labels.names[label], f"C{label}")
        axes.scatter(*points[number == label].T, s=size, color=color, edgecolor="white", linewidth=0.8, label=name,
                     zorder=2)
    if len(graph) <= NAMED:
        for nodes in _together(points):
            place = points[nodes, 0].mean(), points[nodes, 1].max()
            axes.annotate(" ".join(graph.names[node] for node in nodes), place, xytext=(0, 5), ha="center",
                          textcoords="offset points", fontsize=8, zorder=3)
    if labels is not None:
        axes.legend(frameon=False)
    axes.set(xlabel=f"first axis ({share[0]:.0%} of the variance)", ylabel=f"second axis ({share[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")


def _together(points: np.ndarray) -> list[list[int]]:
    """The points [points, 2] in groups so close to their first one that their names would cover each other."""
    groups: list[list[int]] = []
    reach = NEAR * np.ptp(points, axis=0).max()
    for number, point in enumerate(points):
        for group in groups:
            if np.linalg.norm(points[group[0]] - point) < reach:
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _draw_distance(axes, rows: list[Row]) -> None:
    from matplotlib.ticker import LogLocator

    axes.set(xlabel="width", ylabel="1 - correlation", title="Cosines of all pairs of nodes against the limit")
    if not rows:
        return
    widths = np.array([row.width for row in rows])
    found = [_score(row.correlation) for row in rows]
    gap = np.array([1 - score.value for score in found])
    axes.errorbar(widths, gap, [score.error for score in found], fmt="o-", capsize=3, label="networks")
    axes.plot(widths, gap[-1] * widths[-1] / widths, "--", color="0.6", linewidth=1, label="proportional to 1 / width")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(widths, [f"{width:g}" for width in widths])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
