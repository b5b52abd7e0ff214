"""CPU seconds of a meta-step of first-order MAML in the infinite-width limit of a linear network, four ways.

    compiled    examples/maml/maml.tp
    copying     NumPy with a copy of the weights for each task, in the basis of the initial vectors (TP IV, arXiv
                2011.14522, Algorithms 2 and 3), as the paper's public PyTorch code does it
    factored    NumPy that keeps an adapted weight as the common one and its low-rank change
    autograd    PyTorch with a copy of the weights for each task and its gradients; left out where torch is not there

784 inputs, 5 ways, 1 shot, 1 query image of a class, 32 tasks, float64, one thread. All have the same losses of the
query images to 1e-9. The images are random, with as much ink as handwritten characters. Methods take turns; figures
are medians of the time of a run less that of one meta-step, so that neither compilation nor the initial state counts.

    python benchmarks/maml.py [--steps 10] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from figures import note
from threadpoolctl import threadpool_limits

import tensorprog

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "maml"
sys.path.insert(0, str(EXAMPLE))

from tasks import Tasks, draw_tasks, program_data  # noqa: E402

PIXELS, WAYS, TASKS, CLASSES, DRAWINGS, INK = 784, 5, 32, 100, 20, 0.15
S_U, S_V, ALPHA, INNER, RATE, CLIP = 1.0, 0.03125, 1.0, 0.4, 0.1, 0.5
State = list[np.ndarray]
Method = Callable[[int], np.ndarray]


def images(seed: int = 0) -> np.ndarray:
    """Sparse images [CLASSES * DRAWINGS, PIXELS]; those of a class share most of their ink."""
    rng = np.random.default_rng(seed)
    drawn = (rng.random((CLASSES, 1, PIXELS)) < INK) * rng.random((CLASSES, DRAWINGS, PIXELS))
    return drawn.reshape(-1, PIXELS)


def initial_state() -> State:
    """U [PIXELS + WAYS, PIXELS], V [WAYS, PIXELS + WAYS] and b [PIXELS + WAYS] in the basis of U's and V's vectors."""
    u, v = np.zeros((PIXELS + WAYS, PIXELS)), np.zeros((WAYS, PIXELS + WAYS))
    np.fill_diagonal(u, S_U)
    np.fill_diagonal(v[:, PIXELS:], S_V)
    return [u, v, np.zeros(PIXELS + WAYS)]


# --- losses --------------------------------------------------------------------------------------------------


def mean_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The cross-entropy of logits [..., images, WAYS], averaged over images."""
    right = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:-1])[..., None], axis=-1)[..., 0]
    return (np.log(np.exp(logits).sum(axis=-1)) - right).mean(axis=-1)


def errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of `mean_loss` by the logits."""
    odds = np.exp(logits)
    return (odds / odds.sum(axis=-1, keepdims=True) - np.eye(WAYS)[labels]) / len(labels)


def descend(state: State, total: State) -> None:
    """The step from task to task, in place, with the gradient clipped."""
    size = RATE * min(1.0, CLIP / np.sqrt(sum(np.vdot(g, g) for g in total)))
    for s, g in zip(state, total):
        s -= size * g


# --- the methods; each returns the losses of the query images [steps, TASKS] ----------------------------------


def copying(x: np.ndarray, tasks: Tasks, steps: int) -> np.ndarray:
    """Every task has weights and gradients of its own, of full size."""
    state, losses = initial_state(), np.empty((steps, TASKS))
    for t in range(steps):
        total = [np.zeros_like(s) for s in state]
        for j in range(TASKS):
            _, gradient = _gradient(state, x[tasks.support[t, j]], tasks.support_label)
            own = [s - INNER * g for s, g in zip(state, gradient)]
            losses[t, j], gradient = _gradient(own, x[tasks.query[t, j]], tasks.query_label)
            for s, g in zip(total, gradient):
                s += g
        descend(state, total)
    return losses


def _gradient(state: State, x: np.ndarray, labels: np.ndarray) -> tuple[float, State]:
    u, v, b = state
    hidden = x @ u.T + ALPHA * b
    logits = hidden @ v.T
    chi = errors(logits, labels)
    sent = chi @ v
    return mean_loss(logits, labels), [sent.T @ x, chi.T @ hidden, ALPHA * sent.sum(axis=0)]


def factored(x: np.ndarray, tasks: Tasks, steps: int) -> np.ndarray:
    """All tasks at once; a task's U is U - INNER * sent.T @ support, which is never formed."""
    (u, v, b), losses = initial_state(), np.empty((steps, TASKS))
    for t in range(steps):
        support, query = x[tasks.support[t]], x[tasks.query[t]]
        hidden, asked = (_by_task(x[chosen[t].ravel()] @ u.T + ALPHA * b) for chosen in (tasks.support, tasks.query))
        chi = errors(hidden @ v.T, tasks.support_label)
        sent = chi @ v
        asked -= INNER * (query @ support.swapaxes(1, 2) + ALPHA**2) @ sent
        adapted = v - INNER * chi.swapaxes(1, 2) @ hidden
        logits = asked @ adapted.swapaxes(1, 2)
        losses[t] = mean_loss(logits, tasks.query_label)
        chi = errors(logits, tasks.query_label)
        sent = (chi @ adapted).reshape(-1, len(b))
        total = [sent.T @ query.reshape(-1, PIXELS), (chi.swapaxes(1, 2) @ asked).sum(axis=0), ALPHA * sent.sum(axis=0)]
        descend([u, v, b], total)
    return losses


def _by_task(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(TASKS, -1, rows.shape[-1])


def autograd(x: np.ndarray, tasks: Tasks, steps: int) -> np.ndarray:
    """As `copying`, with the gradients taken by PyTorch."""
    import torch

    torch.set_num_threads(1)
    images = torch.from_numpy(x)
    labels = [torch.from_numpy(label) for label in (tasks.support_label, tasks.query_label)]
    state, losses = [torch.from_numpy(s).requires_grad_() for s in initial_state()], np.empty((steps, TASKS))

    def loss(weights, chosen, label):
        u, v, b = weights
        return torch.nn.functional.cross_entropy((images[chosen] @ u.T + ALPHA * b) @ v.T, label)

    for t in range(steps):
        total = [torch.zeros_like(s) for s in state]
        for j in range(TASKS):
            gradient = torch.autograd.grad(loss(state, tasks.support[t, j], labels[0]), state)
            own = [(s - INNER * g).detach().requires_grad_() for s, g in zip(state, gradient)]
            after = loss(own, tasks.query[t, j], labels[1])
            losses[t, j] = after.item()
            for s, g in zip(total, torch.autograd.grad(after, own)):
                s += g
        descend([s.detach().numpy() for s in state], [g.numpy() for g in total])
    return losses


def compiled(x: np.ndarray, tasks: Tasks) -> Method:
    """The program; its meta-test is made as short as it can be."""
    program = tensorprog.compile(EXAMPLE / "maml.tp")
    settings = {"s_u": S_U, "s_v": S_V, "alpha": ALPHA, "inner": INNER, "rate": RATE, "clip_at": CLIP}
    test = Tasks(tasks.support[0, :1], tasks.query[0, :1], WAYS)

    def run(steps: int) -> np.ndarray:
        return program.run(program_data(x, tasks.first(steps), test), test_steps=1, threads=1, **settings)["after"]
    return run


# --- measuring -----------------------------------------------------------------------------------------------


def methods(x: np.ndarray, tasks: Tasks) -> Iterator[tuple[str, Method]]:
    """The methods that can run here, the compiled program first."""
    yield "compiled", compiled(x, tasks)
    yield "copying", lambda steps: copying(x, tasks, steps)
    yield "factored", lambda steps: factored(x, tasks, steps)
    try:
        import torch  # noqa: F401
    except ImportError:
        print("autograd: skipped, torch is not installed")
    else:
        yield "autograd", lambda steps: autograd(x, tasks, steps)


def clocked(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="meta-steps of a run, besides the first")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    x = images()
    tasks = draw_tasks((options.steps + 1, TASKS), CLASSES, DRAWINGS, seed=1, ways=WAYS)
    with threadpool_limits(1):
        runs = dict(methods(x, tasks))
        losses = {name: run(options.steps + 1) for name, run in runs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.repeats):
            for name, run in runs.items():
                little = clocked(lambda: run(1))
                seconds[name].append((clocked(lambda: run(options.steps + 1)) - little) / options.steps)
    report({name: statistics.median(each) for name, each in seconds.items()}, losses)


def report(seconds: dict[str, float], losses: dict[str, np.ndarray]) -> None:
    """A line for each method.

    Raises:
        AssertionError: if the losses differ.
    """
    wanted = losses["copying"]
    print(f"mean loss of the first and last meta-step: {wanted[0].mean():.4f}, {wanted[-1].mean():.4f}")
    for name, each in seconds.items():
        gap = np.abs(losses[name] - wanted).max()
        ratio = each / seconds["compiled"]
        note(f"{name} to the compiled program", ratio, better="more")
        print(f"{name:9} {each:.4f} CPU s a meta-step, RATIO to the compiled program {ratio:6.2f}, "
              f"largest difference in a loss {gap:.1e}")
        assert gap < 1e-9, f"the losses of {name} are others"


if __name__ == "__main__":
    main()
