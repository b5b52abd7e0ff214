"""What the limit is compared with: nearest neighbours in pixels, and first-order MAML of kernel machines.

A kernel machine is a function f(x) = sum of q_z K(z, x) over the examples z seen (TP IV, arXiv 2011.14522, Alg. 4).
It is kept as its values on all images, so that a meta-step costs the same early and late: it asks `kernels.tp` for the
columns K[all images, query images of the step], and all settings of a grid share them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tasks import Tasks, accuracy

import tensorprog

Columns = Callable[[np.ndarray], np.ndarray]

#: Tasks of a meta-test whose kernel columns are computed at once.
CHUNK = 32


@dataclass(frozen=True)
class Setting:
    """Hyperparameters of a kernel machine: a factor of the kernel, the outer learning rate, the norm to clip at."""

    scale: float
    rate: float
    clip_at: float


#: Scales and rates apart by factors of ten, each with the clipping of the network and without.
GRID = tuple(itertools.starmap(Setting, itertools.product((0.1, 1.0), (0.001, 0.01, 0.1), (0.5, np.inf))))


def nearest_neighbour(images: np.ndarray, tasks: Tasks) -> np.ndarray:
    """Minus the squared distance to the nearest support image of each class, [tasks, queries, ways]."""
    support, query = images[tasks.support], images[tasks.query]
    squares = (support**2).sum(-1)[:, None, :] + (query**2).sum(-1)[:, :, None]
    distance = squares - 2 * query @ support.transpose(0, 2, 1)
    return -distance.reshape(*distance.shape[:2], tasks.ways, -1).min(axis=-1)


def kernel_columns(images: np.ndarray, output: str, leak: float) -> Columns:
    """A function from rows of `images` to K[all images, those rows], with K an output of `kernels.tp`."""
    program = tensorprog.compile(Path(__file__).with_name("kernels.tp"))
    return lambda rows: program.kernels(images, images[rows], leak=leak)[output]


class KernelLearner:
    """First-order MAML of one kernel under several settings at once.

    Attributes:
        values: [settings, images, ways], the functions on all images; zero at first.
    """

    def __init__(self, columns: Columns, images: int, ways: int, settings: Sequence[Setting], inner: float):
        self.columns = columns
        self.inner = inner
        self.values = np.zeros((len(settings), images, ways))
        self.scale, self.rate, self.clip_at = np.array([[s.scale, s.rate, s.clip_at] for s in settings]).T

    def train(self, tasks: Tasks) -> None:
        """One meta-step for each index of the leading axis of tasks [steps, tasks]."""
        for support, query in zip(tasks.support, tasks.query):
            self._step(Tasks(support, query, tasks.ways))

    def _step(self, tasks: Tasks) -> None:
        """Gradients of the query losses after one inner step, summed over tasks and clipped in the kernel's norm."""
        rows = tasks.query.ravel()
        block = self.columns(rows)
        at = np.arange(rows.size).reshape(tasks.query.shape)
        cross = block[tasks.support[:, :, None], at[:, None, :]].transpose(0, 2, 1)
        errors = _errors(self.values[:, tasks.support], tasks.support_label)
        adapted = self.values[:, tasks.query] - self.inner * self._apply(cross, errors)
        chi = _errors(adapted, tasks.query_label).reshape(len(self.values), rows.size, -1)
        with np.errstate(all="ignore"):
            norm = np.sqrt(self.scale * np.einsum("sak,ab,sbk->s", chi, block[rows], chi, optimize=True))
            size = self.rate * self.scale * np.minimum(1.0, self.clip_at / norm)
            self.values -= size[:, None, None] * (block @ chi)

    def test(self, tasks: Tasks, steps: int) -> np.ndarray:
        """Query logits after 1 and after `steps` inner steps, [2, settings, tasks, queries, ways]."""
        parts = [self._adapt(part, steps) for part in _chunks(tasks)]
        return np.concatenate(parts, axis=2)

    def _adapt(self, tasks: Tasks, steps: int) -> np.ndarray:
        block = self.columns(tasks.support.ravel())
        at = np.arange(tasks.support.size).reshape(tasks.support.shape)
        own = block[tasks.support[:, :, None], at[:, None, :]]
        cross = block[tasks.query[:, :, None], at[:, None, :]]
        support, query = self.values[:, tasks.support], self.values[:, tasks.query]
        kept = []
        for _ in range(steps):
            errors = _errors(support, tasks.support_label)
            support = support - self.inner * self._apply(own, errors)
            query = query - self.inner * self._apply(cross, errors)
            kept.append(query)
        return np.stack([kept[0], kept[-1]])

    def _apply(self, kernel: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """The kernel [tasks, rows, columns] times errors [settings, tasks, columns, ways]."""
        return self.scale[:, None, None, None] * (kernel @ errors)


def best_setting(learner: KernelLearner, validation: Tasks, steps: int) -> int:
    """Which setting is most accurate after the last inner step."""
    logits = learner.test(validation, steps)[1]
    return int(np.argmax([accuracy(one, validation.query_label)[0] for one in logits]))


def _errors(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy over images: logits [..., images, ways], label [images]."""
    with np.errstate(all="ignore"):
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        share = odds / odds.sum(axis=-1, keepdims=True)
    return (share - np.eye(logits.shape[-1])[label]) / len(label)


def _chunks(tasks: Tasks) -> Iterator[Tasks]:
    for start in range(0, len(tasks.support), CHUNK):
        part = slice(start, start + CHUNK)
        yield Tasks(tasks.support[part], tasks.query[part], tasks.ways)
