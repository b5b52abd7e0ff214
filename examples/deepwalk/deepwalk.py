"""DeepWalk and node2vec at infinite width, beside networks of several widths on the same walks.

    python examples/deepwalk/deepwalk.py --graph examples/deepwalk/karate.txt \\
        --labels examples/deepwalk/karate_clubs.txt --out out/deepwalk

README.md in this folder says what the figures mean.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tensorprog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from word2vec.arguments import natural, positive, positive_real, several, width_or_inf
from word2vec.corpus import Vocabulary
from word2vec.evaluate import agreement, cosines
from word2vec.stream import Settings, Stream, make_stream

from deepwalk.report import Row, draw, table, write_results
from deepwalk.scores import leave_one_out
from deepwalk.walks import Graph, Labels, random_walks, read_graph, read_labels

PROGRAM = Path(__file__).resolve().parents[1] / "word2vec" / "word2vec.tp"
INTERRUPTED = 130
LATE = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _options(arguments)
    try:
        _compare(options)
    except (OSError, ValueError, tensorprog.ProgramError) as error:
        print(f"deepwalk.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def walk_stream(graph: Graph, walks: np.ndarray, settings: Settings) -> Stream:
    """What is trained on: `walks` [walks, length] as sentences, all of their nodes kept.

    Raises:
        ValueError: if walks have a single node.
    """
    nodes = walks.ravel()
    vocabulary = Vocabulary(graph.names, np.bincount(nodes, minlength=len(graph)))
    return make_stream(vocabulary, nodes.astype(vocabulary.dtype), settings)


def train(program: tensorprog.CompiledProgram, stream: Stream, nodes: int, width: float,
          seed: int) -> tensorprog.Result:
    """The limit if `width` is infinite, else one random network of that width: `loss` [positions] and `gram`
    [nodes, nodes]. There is no weight decay, as in the papers."""
    if math.isinf(width):
        return program.run(stream.data(), words=nodes, decay=0.0)
    return program.simulate(stream.data(), width=int(width), seeds=1, seed=seed, words=nodes, decay=0.0)


def _compare(options: argparse.Namespace) -> None:
    graph = read_graph(options.graph)
    labels = options.labels and read_labels(options.labels, graph)
    print(f"{len(graph):,} nodes, {len(graph.edges):,} edges; {options.repeats} times {options.walks * len(graph):,} "
          f"walks of {options.length} nodes")
    options.out.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(graph, labels, options)
    for repeat, seeds in enumerate(_seeds(options.seed, options.repeats)):
        print(f"\rrepeat {repeat + 1} of {options.repeats}", end="", file=sys.stderr, flush=True)
        comparison.repeat(*seeds)
    print(file=sys.stderr)
    write_results(options.out, comparison.rows, graph.names, comparison.gram)
    widest = comparison.rows[-1].width
    draw(options.out / "deepwalk.png", comparison.rows, graph, labels, comparison.gram,
         "Embedding at " + ("infinite width" if math.isinf(widest) else f"width {widest:g}"))
    print(table(comparison.rows))
    print(f"\nresults: {options.out}")


def _seeds(seed: int, repeats: int) -> list[list[int]]:
    """Of the walks, the stream and the networks, for each repeat; more repeats begin with the same ones."""
    return np.random.SeedSequence(seed).generate_state(3 * repeats).reshape(repeats, 3).tolist()


class Comparison:
    """Runs at several widths, repeated with other walks.

    Attributes:
        rows: what was found, by rising width.
        gram: of the nodes [nodes, nodes] at the largest width, in the first repeat.
    """

    def __init__(self, graph: Graph, labels: Labels | None, options: argparse.Namespace):
        self.graph, self.labels, self.options = graph, labels, options
        self.program = tensorprog.compile(PROGRAM)
        self.rows = [Row(width) for width in sorted(set(options.widths))]
        self.gram: np.ndarray | None = None
        self._before: list[np.ndarray] = []

    def repeat(self, walk_seed: int, stream_seed: int, network_seed: int) -> None:
        """Draw walks, train on them at all widths, and add what is found to `rows`."""
        options = self.options
        walks = random_walks(self.graph, options.walks, options.length, p=options.p, q=options.q, seed=walk_seed)
        stream = walk_stream(self.graph, walks, Settings(
            epochs=options.epochs, seed=stream_seed, window=options.window, negative=options.negative, sample=0,
            rate=options.rate, sentence=options.length))
        cosine = [self._train(row, stream, network_seed) for row in self.rows]
        if math.isinf(self.rows[-1].width):
            for row, found in zip(self.rows[:-1], cosine):
                row.correlation.append(agreement(found, cosine[-1]))
        # Pairs of repeats that share none, so that what they say is independent.
        for row, found, before in zip(self.rows, cosine, self._before):
            row.repeatability.append(agreement(found, before))
        self._before = [] if self._before else cosine

    def _train(self, row: Row, stream: Stream, seed: int) -> np.ndarray:
        """Train at one width, fill in what concerns it alone, and return the cosines [nodes, nodes]."""
        start = time.perf_counter()
        result = train(self.program, stream, len(self.graph), row.width, seed)
        row.seconds.append(time.perf_counter() - start)
        row.loss.append(float(result["loss"][-max(1, int(LATE * len(stream))):].mean()))
        if self.gram is None and row is self.rows[-1]:
            self.gram = result["gram"]
        cosine = cosines(result["gram"])
        if self.labels is not None:
            for count in self.options.nearest:
                hits = leave_one_out(cosine, self.labels.number, count)
                row.accuracy.setdefault(count, []).append(float(hits.mean()))
        return cosine


# --- command line --------------------------------------------------------------------------------------------


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", type=Path, required=True, help="an edge list: two names a line, # comments")
    parser.add_argument("--labels", type=Path, help="a node's name and its label a line")
    parser.add_argument("--widths", type=width_or_inf, nargs="+", default=[4, 16, 64, math.inf], metavar="WIDTH",
                        help="widths of networks; inf is the limit (4 16 64 inf)")
    parser.add_argument("--nearest", type=positive, nargs="+", default=[1, 5], metavar="COUNT",
                        help="how many nodes vote on a label (1 5)")
    parser.add_argument("--repeats", type=positive, default=10, help="with other walks and networks (%(default)s)")
    parser.add_argument("--seed", type=natural, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/deepwalk"), help="folder for the results (%(default)s)")
    walks = parser.add_argument_group("walks")
    walks.add_argument("--walks", type=positive, default=20, help="walks from each node (%(default)s)")
    walks.add_argument("--length", type=several, default=40, help="nodes of a walk (%(default)s)")
    walks.add_argument("--p", type=positive_real, default=1.0, help="the larger, the rarer are steps back (1)")
    walks.add_argument("--q", type=positive_real, default=1.0, help="the larger, the rarer are steps away (1)")
    training = parser.add_argument_group("training")
    training.add_argument("--window", type=positive, default=5, help="reach of a context (%(default)s)")
    training.add_argument("--negative", type=positive, default=5, help="negative samples (%(default)s)")
    training.add_argument("--epochs", type=positive, default=2, help="how often walks are read (%(default)s)")
    training.add_argument("--rate", type=positive_real, default=0.025, help="first learning rate (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
