"""Graphs from edge lists, and random walks on them.

    graph = read_graph("karate.txt")
    walks = random_walks(graph, count=20, length=40, seed=0)              # DeepWalk
    walks = random_walks(graph, count=20, length=40, p=0.25, q=4, seed=0)    # node2vec

DeepWalk: Perozzi, Al-Rfou and Skiena 2014 (arXiv 1403.6652). node2vec: Grover and Leskovec 2016 (arXiv 1607.00653).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Graph:
    """An undirected graph without weights, every node with an edge.

    Attributes:
        names: of the nodes, in the order in which the file has them first.
        start: where the neighbours of each node begin, [nodes + 1].
        neighbours: the nodes next to node 0, then those next to node 1, and so on, each rising.
    """

    names: tuple[str, ...]
    start: np.ndarray
    neighbours: np.ndarray

    @classmethod
    def of(cls, edges: list[tuple[str, str]]) -> Graph:
        """The graph with these edges; an edge may be given more than once, and in either direction."""
        number: dict[str, int] = {}
        ends = np.array([number.setdefault(name, len(number)) for edge in edges for name in edge], dtype=np.int64)
        first, second = ends.reshape(-1, 2).T
        count = len(number)
        keys = np.unique(np.concatenate([first * count + second, second * count + first]))
        start = np.searchsorted(keys, count * np.arange(count + 1))
        return cls(tuple(number), start, keys % max(count, 1))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def degrees(self) -> np.ndarray:
        """How many neighbours each node has, [nodes]."""
        return np.diff(self.start)

    @property
    def edges(self) -> np.ndarray:
        """The edges, each once, [edges, 2], the smaller number first."""
        source = np.repeat(np.arange(len(self)), self.degrees)
        once = source <= self.neighbours
        return np.stack([source[once], self.neighbours[once]], axis=1)

    def adjacent(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether there is an edge between nodes, elementwise for arrays of one shape."""
        keys = np.repeat(np.arange(len(self)), self.degrees) * len(self) + self.neighbours
        wanted = first * len(self) + second
        return keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted


@dataclass(frozen=True)
class Labels:
    """What is known of the nodes.

    Attributes:
        names: of the labels.
        number: of each node's label, -1 without one, [nodes].
    """

    names: tuple[str, ...]
    number: np.ndarray


def read_graph(path: Path) -> Graph:
    """The graph of an edge list: two names a line, with white space between them; # starts a comment.

    Raises:
        ValueError: for another line, or if there is no edge.
        OSError: for a file that cannot be read.
    """
    graph = Graph.of(list(_pairs(path)))
    if not len(graph):
        raise ValueError(f"{path} has no edges")
    return graph


def read_labels(path: Path, graph: Graph) -> Labels:
    """The labels of nodes, from lines of a node's name and its label; # starts a comment. Not every node needs one.

    Raises:
        ValueError: for another line, a name that the graph does not have or that is given twice, or if there are fewer
            than two different labels.
        OSError: for a file that cannot be read.
    """
    label: dict[str, str] = {}
    known = set(graph.names)
    for name, given in _pairs(path):
        if name not in known:
            raise ValueError(f"{path}: the graph has no node {name!r}")
        if label.setdefault(name, given) != given:
            raise ValueError(f"{path}: the node {name!r} has two labels")
    names = tuple(sorted(set(label.values())))
    if len(names) < 2:
        raise ValueError(f"{path} has fewer than two different labels")
    return Labels(names, np.array([names.index(label[name]) if name in label else -1 for name in graph.names]))


def random_walks(graph: Graph, count: int, length: int, *, p: float = 1.0, q: float = 1.0,
                 seed: int | np.random.SeedSequence = 0) -> np.ndarray:
    """Walks from every node, all nodes once in random order, then again, `count` times.

    A step from v to x, when the step before went from t to v, has a probability proportional to 1/p if x is t, 1 if x
    is next to t, 1/q otherwise (node2vec, section 3.2); the first step is uniform. With p = q = 1 all steps are
    uniform: DeepWalk.

    Args:
        count: walks from each node.
        length: nodes of a walk.
        p: the larger it is, the rarer are steps back.
        q: the larger it is, the rarer are steps away from where the walk was.

    Returns:
        numbers of nodes, [count * nodes, length].
    """
    rng = np.random.default_rng(seed)
    walks = np.empty((count * len(graph), length), dtype=np.int64)
    walks[:, 0] = np.concatenate([rng.permutation(len(graph)) for _ in range(count)])
    for step in range(1, length):
        if step == 1 or p == q == 1:
            walks[:, step] = _neighbour(rng, graph, walks[:, step - 1])
        else:
            walks[:, step] = _biased(rng, graph, walks[:, step - 2], walks[:, step - 1], p, q)
    return walks


def _neighbour(rng: np.random.Generator, graph: Graph, nodes: np.ndarray) -> np.ndarray:
    """A uniform neighbour of each of the `nodes` [walks]."""
    return graph.neighbours[graph.start[nodes] + rng.integers(graph.degrees[nodes])]


def _biased(rng: np.random.Generator, graph: Graph, before: np.ndarray, here: np.ndarray, p: float,
            q: float) -> np.ndarray:
    """The nodes after steps from `before` to `here`, all [walks].

    Uniform neighbours are accepted with probabilities proportional to their weights, and drawn again if they are not.
    This needs no table for each pair of edges; the time grows with the ratio of the largest weight to the others.
    """
    largest = max(1 / p, 1.0, 1 / q)
    found = np.empty_like(here)
    left = np.arange(len(here))
    while len(left):
        drawn, back = _neighbour(rng, graph, here[left]), before[left]
        weight = np.where(drawn == back, 1 / p, np.where(graph.adjacent(back, drawn), 1.0, 1 / q))
        accepted = rng.random(len(left)) * largest < weight
        found[left[accepted]] = drawn[accepted]
        left = left[~accepted]
    return found


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The two words of each line, without comments and blank lines."""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].split()
        if words and len(words) != 2:
            raise ValueError(f"{path}:{number}: expected two names, found {line.strip()!r}")
        if words:
            yield words[0], words[1]
