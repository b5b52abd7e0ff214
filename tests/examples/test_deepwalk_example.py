"""examples/deepwalk: the graph, walks against their definition, scores, the stream of walks and the command."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter, deque

import numpy as np
import pytest
from places import ROOT

FOLDER = ROOT / "examples" / "deepwalk"
sys.path.insert(0, str(ROOT / "examples"))

from deepwalk.deepwalk import walk_stream  # noqa: E402
from deepwalk.scores import leave_one_out, principal_axes  # noqa: E402
from deepwalk.walks import Graph, random_walks, read_graph, read_labels  # noqa: E402
from word2vec.evaluate import cosines  # noqa: E402
from word2vec.stream import Settings  # noqa: E402

# A triangle with a tail, a square beside it, and a leaf: steps back, to common neighbours and away all occur.
SMALL = [tuple(edge.split("-")) for edge in "a-b b-c c-a c-d d-e e-f f-g g-d b-h".split()]


def adjacency(graph: Graph) -> list[set[int]]:
    """The neighbours of each node, from the edges."""
    found: list[set[int]] = [set() for _ in graph.names]
    for a, b in graph.edges.tolist():
        found[a].add(b)
        found[b].add(a)
    return found


# --- graphs --------------------------------------------------------------------------------------------------


def test_the_karate_club():
    graph = read_graph(FOLDER / "karate.txt")
    labels = read_labels(FOLDER / "karate_clubs.txt", graph)
    assert sorted(map(int, graph.names)) == list(range(1, 35))
    assert len(graph.edges) == 78 and (graph.edges[:, 0] != graph.edges[:, 1]).all()
    degree = dict(zip(graph.names, graph.degrees.tolist(), strict=True))
    assert [degree[name] for name in ("34", "1", "33", "3", "2", "12")] == [17, 16, 12, 10, 9, 1]
    near = adjacency(graph)
    distance, queue = {0: 0}, deque([0])
    while queue:
        node = queue.popleft()
        for other in near[node] - distance.keys():
            distance[other] = distance[node] + 1
            queue.append(other)
    assert len(distance) == 34
    assert sum(len(near[a] & near[b]) for a, b in graph.edges.tolist()) == 3 * 45
    assert labels.names == ("instructor", "president")
    assert np.bincount(labels.number).tolist() == [17, 17]
    club = dict(zip(graph.names, labels.number.tolist(), strict=True))
    assert [club[name] for name in ("1", "9", "10", "34")] == [0, 0, 1, 1]
    assert (labels.number[graph.edges[:, 0]] != labels.number[graph.edges[:, 1]]).sum() == 11


def test_edge_lists(tmp_path):
    path = tmp_path / "edges.txt"
    path.write_text("# head\nx y\n\n y   x # again\nx y\ny z\nz z\n", encoding="utf-8")
    graph = read_graph(path)
    assert graph.names == ("x", "y", "z")
    assert graph.edges.tolist() == [[0, 1], [1, 2], [2, 2]]
    assert graph.degrees.tolist() == [1, 2, 2]
    nodes = np.arange(3)
    assert graph.adjacent(nodes[:, None], nodes).tolist() == [[False, True, False], [True, False, True],
                                                               [False, True, True]]
    path.write_text("x y\nx y 3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"edges.txt:2: expected two names, found 'x y 3'"):
        read_graph(path)
    path.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no edges"):
        read_graph(path)


def test_labels(tmp_path):
    graph = Graph.of(SMALL)
    path = tmp_path / "labels.txt"
    path.write_text("h red # comment\na blue\nc red\n", encoding="utf-8")
    labels = read_labels(path, graph)
    given = dict(zip(graph.names, labels.number.tolist(), strict=True))
    assert labels.names == ("blue", "red")
    assert given == dict.fromkeys("abcdefgh", -1) | {"h": 1, "a": 0, "c": 1}
    for text, message in (("a red\nzoe blue\n", "no node 'zoe'"), ("a red\nb red\n", "fewer than two"),
                          ("a red\na blue\n", "'a' has two labels")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_labels(path, graph)


# --- walks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p, q", [(1.0, 1.0), (0.2, 3.0)])
def test_walks_use_edges_and_start_everywhere(p, q):
    graph = read_graph(FOLDER / "karate.txt")
    walks = random_walks(graph, 7, 12, p=p, q=q, seed=3)
    near = adjacency(graph)
    assert walks.shape == (7 * 34, 12)
    assert all(b in near[a] for walk in walks.tolist() for a, b in itertools.pairwise(walk))
    rounds = walks[:, 0].reshape(7, 34)
    assert (np.sort(rounds, axis=1) == np.arange(34)).all()
    assert len({tuple(row) for row in rounds.tolist()}) == 7
    np.testing.assert_array_equal(walks, random_walks(graph, 7, 12, p=p, q=q, seed=3))
    assert (walks != random_walks(graph, 7, 12, p=p, q=q, seed=4)).any()


@pytest.mark.parametrize("p, q", [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.5, 0.5)])
def test_steps_follow_the_definition_of_node2vec(p, q):
    """Chi-square of the steps after each ordered pair of nodes, and of first steps."""
    graph = Graph.of(SMALL)
    near = adjacency(graph)
    walks = random_walks(graph, 3000, 6, p=p, q=q, seed=11)
    steps = Counter(tuple(walk[i:i + 3]) for walk in walks.tolist() for i in range(4))
    firsts = Counter(map(tuple, walks[:, :2].tolist()))
    cases = [(dict.fromkeys(near[v], 1.0), {x: firsts[v, x] for x in near[v]}) for v in range(len(graph))]
    for t, v in ((before, now) for now in range(len(graph)) for before in near[now]):
        weight = {x: 1 / p if x == t else 1.0 if x in near[t] else 1 / q for x in near[v]}
        cases.append((weight, {x: steps[t, v, x] for x in near[v]}))
    for weight, found in cases:
        drawn, total = sum(found.values()), sum(weight.values())
        assert drawn > 300
        expected = {x: drawn * weight[x] / total for x in weight}
        excess = sum((found[x] - expected[x]) ** 2 / expected[x] for x in weight)
        freedom = len(weight) - 1
        assert excess <= freedom + 5 * np.sqrt(2 * freedom) + 5 * (freedom > 0)


# --- stream --------------------------------------------------------------------------------------------------


def test_contexts_do_not_cross_walks():
    """Every walk stays in a part of its own; each node of a walk is trained on with its neighbours in that walk."""
    parts = 5
    graph = Graph.of([(f"{part}{a}", f"{part}{b}") for part in range(parts) for a, b in SMALL])
    walks = random_walks(graph, 4, 7, seed=1)
    stream = walk_stream(graph, walks, Settings(epochs=2, window=3, negative=2, sample=0, sentence=7))
    assert stream.target[:, 0].tolist() == 2 * walks.ravel().tolist()
    assert (walks[1:, 0] // 8 != walks[:-1, -1] // 8).any()
    for row in range(len(stream)):
        walk, place = walks.ravel()[row % walks.size // 7 * 7:][:7].tolist(), row % 7
        found = stream.context[row, :stream.context_count[row]].tolist()
        assert found in [walk[max(0, place - b):place] + walk[place + 1:place + 1 + b] for b in (1, 2, 3)]
        assert len({graph.names[node][0] for node in (walk[place], *found)}) == 1
    with pytest.raises(ValueError, match="no word has a context"):
        walk_stream(graph, walks[:, :1], Settings(sample=0, sentence=1))


# --- scores --------------------------------------------------------------------------------------------------


def test_leave_one_out_counts_votes():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(25, 4))
    cosine = cosines(vectors @ vectors.T)
    label = rng.integers(-1, 3, 25)
    asked = [i for i in range(25) if label[i] >= 0]
    for count in (1, 2, 5):
        wanted = []
        for i in asked:
            near = sorted(set(asked) - {i}, key=lambda j: -cosine[i, j])[:count]
            votes = {k: (sum(label[j] == k for j in near), sum(cosine[i, j] for j in near if label[j] == k))
                     for k in range(3)}
            wanted.append(max(votes, key=votes.get) == label[i])
        assert leave_one_out(cosine, label, count).tolist() == wanted
    with pytest.raises(ValueError, match=f"{len(asked)} nodes cannot vote"):
        leave_one_out(cosine, label, len(asked))


def test_principal_axes_are_those_of_the_vectors():
    vectors = np.random.default_rng(1).normal(size=(12, 6)) * [5, 3, 1, 1, 1, 1] + 7
    points, share = principal_axes(vectors @ vectors.T)
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0))
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * sizes[:2]), atol=1e-9)
    np.testing.assert_allclose(share, sizes[:2] ** 2 / (sizes**2).sum())


# --- the command ---------------------------------------------------------------------------------------------


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FOLDER / "deepwalk.py", *map(str, arguments)], capture_output=True,
                          text=True, encoding="utf-8", timeout=600)


def test_the_command_compares(tmp_path):
    done = run_command("--graph", FOLDER / "karate.txt", "--labels", FOLDER / "karate_clubs.txt", "--walks", 4,
                       "--length", 20, "--epochs", 3, "--repeats", 2, "--rate", 0.1, "--p", 0.5, "--q", 2,
                       "--widths", "inf", 4, 64, "--nearest", 3, "--out", tmp_path / "found")
    assert done.returncode == 0, done.stderr
    assert "34 nodes, 78 edges; 2 times 136 walks of 20 nodes" in done.stdout
    assert (tmp_path / "found" / "table.txt").read_text(encoding="utf-8").strip() in done.stdout
    assert (tmp_path / "found" / "deepwalk.png").stat().st_size > 10_000
    with np.load(tmp_path / "found" / "results.npz") as file:
        assert file["width"].tolist() == [4, 64, np.inf]
        assert file["loss"].shape == file["accuracy_3"].shape == (3, 2) and file["repeatability"].shape == (3, 1)
        assert (file["accuracy_3"][2] > 0.85).all()
        assert (file["correlation"][0] < file["correlation"][1]).all() and (file["correlation"][1] > 0.9).all()
        assert np.isnan(file["correlation"][2]).all() and file["repeatability"][2, 0] < 0.999
    with np.load(tmp_path / "found" / "embedding.npz") as file:
        assert file["gram"].shape == (34, 34) and np.linalg.eigvalsh(file["gram"]).min() > 0
        assert sorted(map(int, file["names"])) == list(range(1, 35))


def test_the_command_without_labels_and_limit(tmp_path):
    path = tmp_path / "edges.txt"
    path.write_text("".join(f"{a} {b}\n" for a, b in SMALL), encoding="utf-8")
    done = run_command("--graph", path, "--walks", 2, "--length", 5, "--repeats", 1, "--widths", 8, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" not in done.stdout and "8 nodes, 9 edges" in done.stdout
    assert (tmp_path / "deepwalk.png").stat().st_size > 10_000


def test_the_command_reports_mistakes(tmp_path):
    done = run_command("--graph", tmp_path / "none.txt")
    assert done.returncode == 1
    assert done.stderr.startswith("deepwalk.py: ") and "none.txt" in done.stderr and "Traceback" not in done.stderr
    done = run_command("--graph", FOLDER / "karate.txt", "--p", 0)
    assert done.returncode == 2 and "0.0 is not above 0" in done.stderr
