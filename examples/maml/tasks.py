"""Few-shot tasks as integers that choose rows of an array of images.

A task shows `shots` drawings of each of `ways` characters (its support set), and asks for the class of others (its
query set). The class is the position in the task, so that all tasks have the same labels. Setting: Finn, Abbeel and
Levine (2017, arXiv 1703.03400), section 5; TP IV (arXiv 2011.14522), section 9.2: 5 ways, 1 shot, 32 tasks a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tasks:
    """Tasks over rows of images.

    Attributes:
        support: [..., ways * shots], the class of column i is i // shots.
        query: [..., ways * queries], the class of column q is q // queries.
        ways: the number of classes of a task.
    """

    support: np.ndarray
    query: np.ndarray
    ways: int

    @property
    def support_label(self) -> np.ndarray:
        """Classes of the columns of `support`."""
        return _labels(self.support.shape[-1], self.ways)

    @property
    def query_label(self) -> np.ndarray:
        """Classes of the columns of `query`."""
        return _labels(self.query.shape[-1], self.ways)

    def first(self, count: int) -> Tasks:
        """The first entries of the leading axis."""
        return Tasks(self.support[:count], self.query[:count], self.ways)

    def shifted(self, rows: int) -> Tasks:
        """The same tasks where `rows` other images come first."""
        return Tasks(self.support + rows, self.query + rows, self.ways)


def draw_tasks(shape: int | tuple[int, ...], classes: int, drawings: int, *, seed: int, ways: int = 5, shots: int = 1,
               queries: int = 1) -> Tasks:
    """Random tasks: different classes in a task, and different drawings of a class.

    Args:
        shape: the number of tasks, or (steps, tasks a step).
        classes: of the images; class c is in the rows c * drawings .. (c + 1) * drawings - 1.
        drawings: how many there are of a class.

    Raises:
        ValueError: if there are too few classes or drawings.
    """
    if ways > classes or shots + queries > drawings:
        raise ValueError(f"{ways} ways of {shots} + {queries} drawings do not fit "
                         f"in {classes} classes of {drawings} drawings")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    rng = np.random.default_rng(seed)
    chosen = np.empty((*shape, ways, shots + queries), dtype=np.int64)
    for place in np.ndindex(*shape):
        for way, c in enumerate(rng.choice(classes, ways, replace=False)):
            chosen[(*place, way)] = c * drawings + rng.choice(drawings, shots + queries, replace=False)
    support, query = chosen[..., :shots], chosen[..., shots:]
    return Tasks(support.reshape(*shape, -1), query.reshape(*shape, -1), ways)


def program_data(images: np.ndarray, train: Tasks, test: Tasks) -> dict[str, np.ndarray]:
    """The inputs of `maml.tp`, for tasks of the same form over one array of images [images, pixels]."""
    return {"X": images, "support": train.support, "query": train.query, "support_label": train.support_label,
            "query_label": train.query_label, "test_support": test.support, "test_query": test.query}


def test_data(images: np.ndarray, test: Tasks) -> dict[str, np.ndarray]:
    """The inputs of `test.tp`."""
    return {"X": images, "support_label": test.support_label, "test_support": test.support, "test_query": test.query}


def accuracy(logits: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """The share of right answers and its standard error over tasks.

    Args:
        logits: [..., tasks, queries, ways]; leading axes (networks) are averaged over.
        label: [queries].
    """
    right = (logits.argmax(axis=-1) == label).mean(axis=-1)
    right = right.reshape(-1, right.shape[-1]).mean(axis=0)
    return float(right.mean()), float(right.std(ddof=1) / np.sqrt(len(right)))


def _labels(count: int, ways: int) -> np.ndarray:
    return np.repeat(np.arange(ways), count // ways)
