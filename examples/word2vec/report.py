"""What is said about the runs: scores, table, picture and files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from word2vec.corpus import Vocabulary
from word2vec.evaluate import (
    Analogies,
    Score,
    Similarities,
    agreement,
    analogy_hits,
    cosines,
    mean_score,
    neighbour_overlap,
    section_scores,
    similarity_score,
)

FREQUENT = 500
NEIGHBOURS = 10
LATE = 0.1
CURVE = 100


@dataclass(frozen=True)
class Run:
    """One run and what is known of it.

    Attributes:
        width: of the network; infinite for the limit.
        loss: of each word, divided by the number of negative samples as in the public code, [positions].
        seconds, cpu_seconds: what it took.
        frequent: cosines of the most frequent words, [<= 500, <= 500].
        analogies: the share of correct answers; None without questions.
        sections: the same by section of the file.
        similarity: the correlation with people's judgements; None without these.
    """

    width: float
    loss: np.ndarray
    seconds: float
    cpu_seconds: float
    frequent: np.ndarray | None = None
    analogies: Score | None = None
    sections: dict[str, Score] | None = None
    similarity: Score | None = None

    @property
    def final_loss(self) -> float:
        """The mean over the last tenth."""
        return float(self.loss[-max(1, int(LATE * len(self.loss))):].mean(dtype=np.float64))

    @property
    def speed(self) -> float:
        """Words per second."""
        return len(self.loss) / self.seconds


def assess(run: Run, gram: np.ndarray, analogies: Analogies | None, similarities: Similarities | None) -> Run:
    """The run with the scores of its embedding, from the Gram matrix [words, words]."""
    cosine = cosines(gram)
    run = replace(run, frequent=cosine[:FREQUENT, :FREQUENT].copy())
    if analogies is not None:
        hits = analogy_hits(cosine, analogies.questions)
        run = replace(run, analogies=mean_score(hits), sections=section_scores(hits, analogies))
    if similarities is not None:
        run = replace(run, similarity=similarity_score(cosine, similarities))
    return run


def agreements(runs: list[Run]) -> dict[float, tuple[float, float]]:
    """Width -> correlation of cosines with the limit, and overlap of nearest neighbours; nothing without the limit."""
    limits = [run for run in runs if math.isinf(run.width)]
    count = min(NEIGHBOURS, len(runs[0].frequent) - 1)
    return {run.width: (agreement(run.frequent, limit.frequent), neighbour_overlap(run.frequent, limit.frequent, count))
            for limit in limits[:1] for run in runs if run is not limit}


# --- table ---------------------------------------------------------------------------------------------------


def table(runs: list[Run]) -> str:
    """One row for each run; with analogies, a second table by section."""
    alike = agreements(runs)
    head = ("width", "final loss", "analogies %", "similarity", "correlation", "neighbours", "words/s", "CPU s")
    rows = [(f"{run.width:g}", f"{run.final_loss:.5f}", _percent(run.analogies), _plain(run.similarity),
             *(f"{value:.4f}" for value in alike.get(run.width, ())), *("-",) * (0 if run.width in alike else 2),
             f"{run.speed:,.0f}", f"{run.cpu_seconds:,.1f}") for run in runs]
    text = _aligned([head, *rows])
    if runs[0].sections:
        text += "\n\n" + _aligned(_section_rows(runs))
    return text


def _section_rows(runs: list[Run]) -> list[tuple[str, ...]]:
    head = ("section", "questions", *(f"{run.width:g}" for run in runs))
    return [head, *((name, str(score.count), *(_percent(run.sections[name]) for run in runs))
                    for name, score in runs[0].sections.items())]


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _percent(score: Score | None) -> str:
    return "-" if score is None or not score.count else f"{100 * score.value:.2f} +- {100 * score.error:.2f}"


def _plain(score: Score | None) -> str:
    return "-" if score is None or math.isnan(score.value) else f"{score.value:.3f} +- {score.error:.3f}"


# --- files ---------------------------------------------------------------------------------------------------


def save_embedding(out: Path, run: Run, gram: np.ndarray, vocabulary: Vocabulary) -> None:
    """`embedding-<width>.npz`: gram float32 [words, words], words, loss [positions]."""
    np.savez(out / f"embedding-{run.width:g}.npz", gram=gram, words=np.array(vocabulary.words),
             loss=run.loss)


def write_results(out: Path, runs: list[Run]) -> None:
    """`table.txt`, `results.npz` with a row for each run, and `convergence.png`."""
    (out / "table.txt").write_text(table(runs) + "\n", encoding="utf-8")
    alike = agreements(runs)
    none = Score(np.nan, np.nan, 0)
    np.savez(out / "results.npz", width=np.array([run.width for run in runs]),
             final_loss=np.array([run.final_loss for run in runs]),
             analogies=_score_rows([run.analogies or none for run in runs]),
             similarity=_score_rows([run.similarity or none for run in runs]),
             agreement=np.array([alike.get(run.width, (np.nan, np.nan)) for run in runs]),
             seconds=np.array([run.seconds for run in runs]), cpu_seconds=np.array([run.cpu_seconds for run in runs]))
    draw(runs, out / "convergence.png")


def _score_rows(scores: list[Score]) -> np.ndarray:
    """Value, standard error and count of each, [scores, 3]."""
    return np.array([[score.value, score.error, score.count] for score in scores])


def draw(runs: list[Run], path: Path) -> None:
    """Loss against words; distance of cosines from the limit, and analogies, against width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    loss, distance, accuracy = figure.subplots(1, 3)
    _draw_loss(loss, runs)
    _draw_distance(distance, agreements(runs))
    _draw_accuracy(accuracy, runs)
    for axes in (loss, distance, accuracy):
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=150)


def _draw_loss(axes, runs: list[Run]) -> None:
    for run in sorted(runs, key=lambda run: run.width):
        chunks = np.array_split(run.loss, min(CURVE, len(run.loss)))
        ends = np.cumsum([len(chunk) for chunk in chunks])
        limit = math.isinf(run.width)
        axes.plot(ends, [chunk.mean() for chunk in chunks], color="black" if limit else None,
                  linestyle="--" if limit else "-", linewidth=1.2,
                  label="infinite width" if limit else f"width {run.width:g}")
    axes.set(xlabel="words trained on", ylabel="loss", title="Training loss")
    axes.legend(frameon=False)


def _draw_distance(axes, alike: dict[float, tuple[float, float]]) -> None:
    widths = sorted(alike)
    if widths:
        axes.loglog(widths, [1 - alike[width][0] for width in widths], "o-")
        _mark_widths(axes, widths)
    axes.set(xlabel="width", ylabel="1 - correlation", title="Cosines of frequent words against the limit")


def _draw_accuracy(axes, runs: list[Run]) -> None:
    scored = sorted((run for run in runs if run.analogies and run.analogies.count), key=lambda run: run.width)
    finite = [run for run in scored if not math.isinf(run.width)]
    if finite:
        axes.errorbar([run.width for run in finite], [100 * run.analogies.value for run in finite],
                      [100 * run.analogies.error for run in finite], fmt="o-", capsize=3, label="networks")
        axes.set_xscale("log")
        _mark_widths(axes, [run.width for run in finite])
    for run in scored[len(finite):]:
        axes.axhline(100 * run.analogies.value, color="black", linestyle="--", label="infinite width")
    axes.set(xlabel="width", ylabel="correct answers, %", title="Analogies")
    if scored:
        axes.legend(frameon=False)


def _mark_widths(axes, widths: list[float]) -> None:
    axes.set_xticks(widths, [f"{width:g}" for width in widths])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
