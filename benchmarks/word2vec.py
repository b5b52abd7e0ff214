"""Word2Vec: how the cost of the infinite-width limit grows with the vocabulary (examples/word2vec/word2vec.tp).

For each vocabulary, on one stream of words: the limit in float32 on one and two threads, the same training by NumPy
and BLAS as the paper's public code (edwardjhu/TP4, `word2vec.c -oh 1`) does it, with a vector operation for each
target and vectors of length 2|V| whose second half stays zero, the same with length |V|, and a network of width 1024
(`simulate`, float64). They take turns; figures are medians. Time is taken between reports of progress after the first
fifth of a run, so that neither compilation nor fresh memory counts; the Gram matrix is left out of the program. The
losses of limit and NumPy are compared.

    python benchmarks/word2vec.py --corpus brown.zip wikitext2_valid.txt wikitext2_test.txt [--plot cost.png]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import note
from scipy.linalg.blas import saxpy, sdot, sscal
from threadpoolctl import threadpool_limits

import tensorprog

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from word2vec.corpus import Vocabulary, read_corpus  # noqa: E402
from word2vec.stream import Settings, Stream, make_stream  # noqa: E402

PROGRAM = EXAMPLES / "word2vec" / "word2vec.tp"
DECAY = 0.001
WIDTH = 1024
LIMIT, DENSE = "limit, 1 thread", "NumPy, 2|V|"
TEXT8_VOCABULARY, TEXT8_TOKENS, TEXT8_EPOCHS = 71_291, 16_718_843, 15


@dataclass(frozen=True)
class Cost:
    """Seconds of one word trained on."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Row:
    """What one vocabulary costs.

    Attributes:
        words: its size.
        kept: the share of the corpus that subsampling leaves.
        costs: by the name of the method; without NumPy's where its matrices are too large.
        difference: the largest of limit and NumPy in the loss of a word; NaN without it.
    """

    words: int
    kept: float
    costs: dict[str, Cost]
    difference: float


# --- the methods ---------------------------------------------------------------------------------------------


def loss_program() -> tensorprog.CompiledProgram:
    """`word2vec.tp` with the loss as its only output."""
    training, gram, _ = PROGRAM.read_text(encoding="utf-8").partition("for a in range(words):")
    assert gram, "the program has no loop for the Gram matrix"
    return tensorprog.compile(training + "output loss\n")


def head(stream: Stream, count: int) -> dict[str, np.ndarray]:
    """The inputs of the program for the first words of a stream."""
    return {name: array[:count] for name, array in stream.data().items()}


class Dense:
    """The public code's training in float32, on vectors of a given length.

    The matrices are written to when they are made, so that training does not pay for fresh memory."""

    def __init__(self, stream: Stream, words: int, length: int):
        self.stream = stream
        self.u, self.v = np.empty((2, words, length), np.float32)
        self.u.fill(0)
        self.v.fill(0)
        np.fill_diagonal(self.u, 1)

    def train(self, part: range) -> np.ndarray:
        """The losses of words of the stream, [part], which must come in order."""
        with threadpool_limits(1):
            return np.array([self._position(s) for s in part])

    def _position(self, s: int) -> float:
        stream, rate = self.stream, float(self.stream.rate[s])
        contexts = stream.context[s, :stream.context_count[s]]
        kept, share = 1 - rate * DECAY, 1 / len(contexts)
        h, e, loss = np.zeros(self.u.shape[1], np.float32), np.zeros(self.u.shape[1], np.float32), 0.0
        for c in contexts:
            saxpy(self.u[c], h, a=share)
        for k, t in enumerate(stream.target[s, :stream.target_count[s]]):
            v = self.v[t]
            f = sdot(h, v)
            loss += np.logaddexp(0, f if k else -f)
            g = rate * ((k == 0) - 1 / (1 + np.exp(-f)))
            saxpy(v, e, a=g)
            sscal(kept, v)
            saxpy(h, v, a=g)
        for c in contexts:
            u = self.u[c]
            sscal(kept, u)
            saxpy(e, u, a=share)
        return loss


# --- measuring -----------------------------------------------------------------------------------------------


Measured = tuple[np.ndarray, Cost]


class Clock:
    """CPU and wall seconds at the reports of a run on `count` words; those of the first fifth do not count.

    There are at least two after it, since a compiled loop runs in parts that are at most four times as long as the
    one before."""

    def __init__(self, count: int) -> None:
        self.start = count // 5
        self.marks: list[tuple[int, float, float]] = []

    def __call__(self, done: int, _: int) -> None:
        """`done` words are trained on."""
        if done >= self.start:
            self.marks.append((done, time.process_time(), time.perf_counter()))

    def cost(self) -> Cost:
        """Of a word, between the first report and that of the most words."""
        words, cpu, wall = np.subtract(max(self.marks), self.marks[0])
        return Cost(cpu / words, wall / words)


def dense_cost(stream: Stream, words: int, length: int, count: int) -> Measured:
    """The losses of the first `count` words by the public code's training, and the seconds of a word."""
    dense, clock = Dense(stream, words, length), Clock(count)
    losses = []
    for part in (range(clock.start), range(clock.start, count)):
        losses.append(dense.train(part))
        clock(part.stop, count)
    return np.concatenate(losses), clock.cost()


def methods(program: tensorprog.CompiledProgram, stream: Stream, words: int,
            options: argparse.Namespace) -> dict[str, Callable[[], Measured]]:
    """How each method is measured."""
    settings = {"words": words, "decay": DECAY}
    few, many = (min(count, len(stream)) for count in (options.dense_positions, options.positions))

    def run(how: Callable[..., tensorprog.Result], **more: object) -> Measured:
        clock = Clock(many)
        return how(head(stream, many), progress=clock, **settings, **more)["loss"], clock.cost()

    def limit(threads: int) -> Measured:
        return run(program.run, dtype="float32", threads=threads)

    found = {LIMIT: lambda: limit(1), "limit, 2 threads": lambda: limit(2),
             f"width {WIDTH}": lambda: run(program.simulate, width=WIDTH, seeds=1, threads=1)}
    if 16 * words**2 <= options.memory * 1e9:
        found |= {DENSE: lambda: dense_cost(stream, words, 2 * words, few),
                  "NumPy, |V|": lambda: dense_cost(stream, words, words, few)}
    return found


def measure(program: tensorprog.CompiledProgram, text: Sequence[str], least: int, options: argparse.Namespace) -> Row:
    """The costs for the words that occur `least` times or more."""
    vocabulary = Vocabulary.of(text, least)
    tokens = vocabulary.encode(text)
    stream = make_stream(vocabulary, tokens, Settings(epochs=1))
    ways = methods(program, stream, len(vocabulary), options)
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    losses = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            losses[name], found = way()
            costs[name].append(found)
    medians = {name: Cost(statistics.median(c.cpu for c in each), statistics.median(c.wall for c in each))
               for name, each in costs.items()}
    return Row(len(vocabulary), len(stream) / len(tokens), medians, _difference(losses))


def _difference(losses: dict[str, np.ndarray]) -> float:
    dense = losses.get(DENSE)
    return np.nan if dense is None else float(np.abs(losses[LIMIT][:len(dense)] - dense).max())


# --- what is shown -------------------------------------------------------------------------------------------


def describe(row: Row) -> str:
    """The costs of one vocabulary as lines."""
    base = row.costs[LIMIT]
    lines = [f"{row.words:,} words; largest difference in a loss {row.difference:.1e}"]
    for name, each in row.costs.items():
        lines.append(f"  {name:17} {1 / each.cpu:8,.0f} words/CPU s {1 / each.wall:8,.0f} words/s   RATIO to the "
                     f"limit's CPU time {each.cpu / base.cpu:5.2f}, wall time {each.wall / base.wall:5.2f}")
    return "\n".join(lines)


def largest_rows(rows: Sequence[Row]) -> list[Row]:
    """The larger half of the vocabularies, at least two, by rising size: what laws are fitted to."""
    return sorted(rows, key=lambda row: row.words)[-max(2, (len(rows) + 1) // 2):]


def power_law(rows: Sequence[Row]) -> tuple[float, float]:
    """(factor, power) of CPU seconds = factor * words**power for a word trained on in the limit, by least squares."""
    sizes, seconds = zip(*((row.words, row.costs[LIMIT].cpu) for row in rows))
    power, constant = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(np.exp(constant)), float(power)


def extrapolate(rows: Sequence[Row]) -> str:
    """What text8 would take, 15 epochs as in the paper. The share of it that subsampling keeps depends on the
    frequencies of words alone, and is assumed to be that of this corpus with the largest vocabulary."""
    last = largest_rows(rows)[-1]
    trained = TEXT8_EPOCHS * TEXT8_TOKENS * last.kept
    factor, power = power_law(largest_rows(rows))
    laws = {f"by the fitted power {power:.2f}": factor * TEXT8_VOCABULARY**power,
            f"in proportion from {last.words:,}": last.costs[LIMIT].cpu * TEXT8_VOCABULARY / last.words}
    lines = [f"text8: {TEXT8_VOCABULARY:,} words, {TEXT8_EPOCHS} epochs of {TEXT8_TOKENS:,} tokens, of which "
             f"{last.kept:.1%} are kept as here: {trained:,.0f} words to train on"]
    lines += [f"  {law}: {1e3 * each:.2f} ms a word, {trained * each / 3600:,.0f} CPU hours on one thread"
              for law, each in laws.items()]
    memory = 8e-9 * TEXT8_VOCABULARY**2
    lines.append(f"  two matrices: {memory:.1f} GB; with vectors of length 2|V| {2 * memory:.1f} GB")
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """The CPU time of a word against the size of the vocabulary, with the law of the limit up to text8."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for method in rows[0].costs:
        points = sorted((row.words, 1e3 * row.costs[method].cpu) for row in rows if method in row.costs)
        axes.loglog(*zip(*points), marker="o", label=method)
    fitted = largest_rows(rows)
    factor, power = power_law(fitted)
    sizes = np.array([fitted[0].words, TEXT8_VOCABULARY], dtype=float)
    axes.loglog(sizes, 1e3 * factor * sizes**power, color="grey", linestyle=":",
                label=f"limit as words$^{{{power:.2f}}}$, to text8")
    axes.set_xlabel("words in the vocabulary")
    axes.set_ylabel("CPU milliseconds a word trained on")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, metavar="PATH")
    parser.add_argument("--min-counts", type=int, nargs="+", default=[200, 78, 27, 20, 10, 5])
    parser.add_argument("--positions", type=int, default=20_000, help="words for the limit and the network")
    parser.add_argument("--dense-positions", type=int, default=2_000, help="words for NumPy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=float, default=6.0, help="gigabytes that NumPy's matrices may take")
    parser.add_argument("--plot", type=Path, help="a file for the picture")
    options = parser.parse_args()
    text, program, rows = read_corpus(options.corpus), loss_program(), []
    for least in options.min_counts:
        rows.append(measure(program, text, least, options))
        print(describe(rows[-1]), flush=True)
    for row in rows:
        note(f"a word, {row.words} words", 1e3 * row.costs[LIMIT].cpu, "ms")
    print(extrapolate(rows))
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
