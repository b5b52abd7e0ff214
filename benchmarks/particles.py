"""CPU seconds times variance of predictions in the limit: particles against an average over float32 networks.

Handwritten digits (100 images of 64 pixels), perceptrons in muP, full-batch gradient descent or minibatches; the
predictions are those of 50 images that are not trained on. The limit of a replicate of either side has a variance and
costs CPU seconds; their product does not depend on how many replicates are averaged, so it compares the sides at equal
error. A side may be used where its bias is below a third of the wanted error: the networks' bias is c/width, with c
measured on narrow ones, and their best width is the cheapest one that is allowed. Both sides run in this process, on one thread.
Particles are runs of eight replicates, with all that belongs to them: the parts that show the bias, and pilots. They are run as
they are by default, in windows of steps where that is certified, and with `windows=False`. Networks in the same kind of windows
are beside them, with the longest whose bias, measured by coupling, is a third of what is allowed.

    python benchmarks/particles.py [--job digits] [--samples 1024] [--error 1e-3] [--quick]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from figures import note  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

import tensorprog  # noqa: E402

SINGLE = np.float32
#: Replicates of a run of particles.
REPLICATES = 8


@dataclass(frozen=True)
class Job:
    """A training run: hidden layers, nonlinearity, classes (1: labels -1 and 1), images of a step (0: all), steps."""

    layers: int = 2
    nonlinearity: str = "tanh"
    classes: int = 1
    batch: int = 0
    steps: int = 100
    eta: float = 1.0


JOBS = {
    "digits": Job(),
    "three_layers": Job(layers=3),
    "relu": Job(nonlinearity="relu", eta=0.5),
    "ten_classes": Job(classes=10),
    "minibatches": Job(batch=10),
}


# --- the data and the program ---


def digits(job: Job) -> dict[str, np.ndarray]:
    """100 images X of squared norm 64 with labels y [100, classes], 50 others Q, and the images of every step."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(labels < max(2, job.classes))[:150]
    X = images[chosen] / 16
    X *= np.sqrt(64 / (X**2).sum(1, keepdims=True))
    if job.classes == 1:
        y = np.where(labels[chosen, None] == 1, 1.0, -1.0)
    else:
        y = (labels[chosen, None] == np.arange(job.classes)).astype(float)
    every = np.tile(np.arange(100), (job.steps, 1))
    if job.batch:
        rng = np.random.default_rng(0)
        count = -(-job.steps * job.batch // 100)
        every = np.concatenate([rng.permutation(100) for _ in range(count)])[:job.steps * job.batch].reshape(job.steps, -1)
    return {"X": X[:100], "y": y[:100], "Q": X[100:], "order": every}


def program_text(job: Job) -> str:
    """The job in the language."""
    matrices = [f"W{k}" for k in range(1, job.layers)]
    phi = job.nonlinearity
    inner = f"{phi}(U @ xi)"
    for name in matrices:
        inner = f"{phi}({name} @ {inner})"
    image = "order[t, b]" if job.batch else "b"
    count = "B" if job.batch else "P"
    updates = [f"    {name} -= eta * grad(loss[t], {name})" for name in matrices]
    declared = [f"matrix {name} : [n, n] ~ normal(0, {2 if phi == 'relu' else 1}/n)" for name in matrices]
    return "\n".join([
        "width n", "size P, Q, d, T, B, C", f"param eta = {job.eta}", "input X : [P, d]", "input XQ : [Q, d]",
        "input y : [P, C]", "input order : [T, B] int", "matrix U : [n, d] ~ normal(0, 1/d)", *declared,
        "vector v[C] : [n] ~ normal(0, 1)", "", "def hidden(xi):", f"    return {inner}", "", "for t in range(T):",
        f"    for b in range({count}):", f"        x[b] = hidden(X[{image}])", "        for k in range(C):",
        "            f[b, k] = moment(v[k] * x[b])",
        f"    loss[t] = sum(sum((f[b, k] - y[{image}, k])**2 for k in range(C)) for b in range({count})) / 2 / {count}",
        "    U -= eta/d * n * grad(loss[t], U)", "    for k in range(C):", "        v[k] -= eta * n * grad(loss[t], v[k])",
        *updates, "", "for q in range(Q):", "    z[q] = hidden(XQ[q])", "    for k in range(C):",
        "        final[q, k] = moment(v[k] * z[q])", "", "output final", ""])


# --- networks ---


def activation(name: str) -> tuple[Callable, Callable]:
    """A nonlinearity, and its derivative from its value."""
    if name == "tanh":
        return np.tanh, lambda x: 1 - x * x
    return lambda h: np.maximum(h, 0), lambda x: (x > 0).astype(SINGLE)


def network(job: Job, data: dict[str, np.ndarray], width: int, seed: int, silent: bool) -> np.ndarray:
    """The predictions of one float32 network, trained by exact steps: [50, classes]. A `silent` one begins with a readout
    orthogonal to its features, so that its first predictions are zero, as in the limit; that makes it better."""
    rng = np.random.default_rng(seed)
    phi, slope = activation(job.nonlinearity)
    X, y, Q = (data[name].astype(SINGLE) for name in ("X", "y", "Q"))
    d, eta = X.shape[1], SINGLE(job.eta)
    spread = np.sqrt((2 if job.nonlinearity == "relu" else 1) / width)
    U = rng.standard_normal((d, width), SINGLE) / SINGLE(np.sqrt(d))
    Ws = [rng.standard_normal((width, width), SINGLE) * SINGLE(spread) for _ in range(job.layers - 1)]
    v = rng.standard_normal((width, job.classes), SINGLE)

    def forward(inputs: np.ndarray) -> list[np.ndarray]:
        found = [phi(inputs @ U)]
        for W in Ws:
            found.append(phi(found[-1] @ W))
        return found

    if silent:
        features = np.linalg.qr(np.concatenate([forward(X)[-1], forward(Q)[-1]]).T)[0]
        v -= features @ (features.T @ v)
    for chosen in data["order"]:
        inputs = X[chosen]
        hidden = forward(inputs)
        c = (hidden[-1] @ v / width - y[chosen]) / len(chosen)
        back = (c @ v.T) * slope(hidden[-1])
        v -= eta * (hidden[-1].T @ c)
        for k in reversed(range(len(Ws))):
            change = hidden[k].T @ back
            back = (back @ Ws[k].T) * slope(hidden[k])
            Ws[k] -= (eta / width) * change
        U -= (eta / d) * (inputs.T @ back)
    return forward(Q)[-1] @ v / width


def stages(job: Job, data: dict[str, np.ndarray], width: int, rng: np.random.Generator) -> tuple[Callable, Callable, list]:
    """For windows: what evaluates averages, their tangent kernel and factors at a state; what adds factors times sums to one; and the
    first state."""
    phi, slope = activation(job.nonlinearity)
    X = data["X"].astype(SINGLE)
    d, eta = X.shape[1], SINGLE(job.eta)
    inputs = X @ X.T / SINGLE(d)
    spread = np.sqrt((2 if job.nonlinearity == "relu" else 1) / width)
    state = [rng.standard_normal((d, width), SINGLE) / SINGLE(np.sqrt(d)),
             *(rng.standard_normal((width, width), SINGLE) * SINGLE(spread) for _ in range(job.layers - 1)),
             rng.standard_normal(width, SINGLE)]

    def stage(state: list) -> tuple:
        hidden = [phi(X @ state[0])]
        for W in state[1:-1]:
            hidden.append(phi(hidden[-1] @ W))
        back = [state[-1] * slope(hidden[-1])]
        for k in reversed(range(1, job.layers)):
            back.insert(0, (back[0] @ state[k].T) * slope(hidden[k - 1]))
        grams = [h @ h.T / width for h in hidden]
        kernel = grams[-1] + sum(b @ b.T / width * g for b, g in zip(back, [inputs, *grams[:-1]]))
        return hidden[-1] @ state[-1] / width, eta * kernel.astype(float), (hidden, back)

    def moved(state: list, factors: tuple, sums: np.ndarray) -> list:
        hidden, back = factors
        c = sums.astype(SINGLE)[:, None]
        found = [state[0] - eta / d * (X.T @ (c * back[0]))]
        found += [W - eta / width * (h.T @ (c * b)) for W, h, b in zip(state[1:-1], hidden, back[1:])]
        return [*found, state[-1] - eta * (hidden[-1].T @ c)[:, 0]]

    return stage, moved, state


def windowed_network(job: Job, data: dict[str, np.ndarray], width: int, seed: int, bounds: list[int]) -> np.ndarray:
    """The predictions of one float32 network for one class, trained on all images by windows, as `passes/windows.py` says."""
    stage, moved, state = stages(job, data, width, np.random.default_rng(seed))
    y = data["y"][:, 0]

    def slope(f: np.ndarray) -> np.ndarray:
        return (f - y) / len(y)

    for begin, end in zip(bounds, bounds[1:]):
        f0, K0, factors = stage(state)
        last = end - begin - 1
        f, sums = f0.astype(float), np.zeros(len(y))
        for _ in range(last):
            c = slope(f)
            sums += c
            f = f - K0 @ c
        if not last:
            state = moved(state, factors, slope(f))
            continue
        state = moved(state, factors, sums)
        _, K1, others = stage(state)
        f, early, late = f0.astype(float), -sums, np.zeros(len(y))
        for s in range(end - begin):
            c = slope(f)
            early += (1 - s / last) * c
            late += s / last * c
            f = f - (K0 + (s + 0.25) / last * (K1 - K0)) @ c
        state = moved(moved(state, factors, early), others, late)
    phi, _ = activation(job.nonlinearity)
    hidden = phi(data["Q"].astype(SINGLE) @ state[0])
    for W in state[1:-1]:
        hidden = phi(hidden @ W)
    return (hidden @ state[-1] / width)[:, None]


# --- what is measured ---


@dataclass(frozen=True)
class Side:
    """Replicates of one kind: CPU seconds of each, standard deviation and bias of predictions (root mean squares), and
    what the bias may be off by."""

    seconds: float
    deviation: float
    bias: float
    unsure: float

    @property
    def cost(self) -> float:
        return self.seconds * self.deviation**2


def measured(one: Callable[[int], np.ndarray], count: int, truth: np.ndarray, of: int = 1) -> Side:
    """A side from `count` results, each the mean of `of` replicates."""
    one(10**6)
    start = time.process_time()
    found = np.array([one(seed) for seed in range(count)])
    seconds = (time.process_time() - start) / count
    variance = float(np.mean(found.var(axis=0, ddof=1)))
    squared = float(np.mean((found.mean(axis=0) - truth)**2)) - variance / count
    return Side(seconds / of, (of * variance) ** 0.5, max(squared, 0.0) ** 0.5, (variance / count) ** 0.5)


def best_network(job: Job, data: dict, truth: np.ndarray, allowed: float, count: int) -> tuple[str, Side]:
    """The cheapest width whose bias is allowed, and its side. The bias falls as 1/width, and is measured where that is
    cheap."""
    def side(width: int, many: int, silent: bool) -> Side:
        return measured(lambda seed: network(job, data, width, seed, silent), max(8, many), truth)

    narrow = {width: side(width, many, False) for width, many in ((32, 16 * count), (64, 8 * count))}
    constant = float(np.mean([width * found.bias for width, found in narrow.items()]))
    for width, found in narrow.items():
        print(f"  networks of width {width:5d}: {row(found)}", flush=True)
    print(f"  bias of networks: {constant:.3f} / width")
    least = max(160, int(np.ceil(constant / allowed / 16)) * 16)
    possible = {}
    for width in (least, 3 * least // 2) if least < 1000 else (least,):
        for silent in (False, True):
            name = f"{'silent ' if silent else ''}networks of width {width}"
            possible[name] = replace(side(width, 2 * count, silent), bias=constant / width)
            print(f"  {name}: {row(possible[name])}", flush=True)
    if job.classes == 1 and not job.batch:
        bounds = longest_windows(job, data, allowed / 3)
        name = f"networks of width {least} in {len(bounds) - 1} windows"
        by_windows = measured(lambda seed: windowed_network(job, data, least, seed, bounds), 2 * count, truth)
        print(f"  {name}: {row(replace(by_windows, bias=constant / least))}", flush=True)
    name = min(possible, key=lambda n: possible[n].cost)
    return name, possible[name]


def longest_windows(job: Job, data: dict[str, np.ndarray], allowed: float, pairs: int = 24) -> list[int]:
    """Bounds of the longest windows whose bias is allowed: the mean difference of narrow networks of the same seeds."""
    exact = [windowed_network(job, data, 64, seed, list(range(job.steps + 1))) for seed in range(pairs)]
    for ratio in (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25):
        bounds = list(range(int(np.ceil(3 / ratio))))
        while bounds[-1] < job.steps:
            bounds.append(min(job.steps, bounds[-1] + max(1, int(ratio * bounds[-1]))))
        off = np.mean([windowed_network(job, data, 64, seed, bounds) - e for seed, e in enumerate(exact)], axis=0)
        if np.sqrt(np.mean(off**2)) < allowed:
            return bounds
    return list(range(job.steps + 1))


def row(side: Side) -> str:
    return (f"{side.seconds:8.4f} CPU s, deviation {side.deviation:.2e}, bias {side.bias:.1e} (+- {side.unsure:.1e}), "
            f"CPU x variance {side.cost:.2e}")


def compare(name: str, samples: list[int], error: float, count: int) -> None:
    job = JOBS[name]
    data = digits(job)
    program = tensorprog.compile(program_text(job))
    given = {"X": data["X"], "y": data["y"], "XQ": data["Q"], "order": data["order"]}

    def particles(many: int, seed: int, replicates: int = REPLICATES, windows: bool = True) -> tensorprog.Result:
        return program.run(given, samples=many, replicates=replicates, seed=seed, threads=1, windows=windows)

    long = particles(4 * max(samples), 10**5, max(2, count), windows=False)
    truth = long["final"]
    print(f"{name}: {job}\n  limit known to {np.sqrt(np.mean(long.error['final']**2)):.1e}, by {long.method['final']}")
    found = {}
    for many in samples:
        for windows in (False, True):
            taken = particles(many, 0, windows=windows).settings.get("windows")
            how = f"{taken} windows" if taken else "exact steps"
            if windows and not taken:
                print(f"  particles, {many:6d} samples: no windows")
                continue
            found[f"{many} samples, {how}"] = side = measured(
                lambda seed, n=many, w=windows: particles(n, seed, windows=w)["final"], max(4, count // 2), truth, REPLICATES)
            print(f"  particles, {many:6d} samples, {how}: {row(side)}", flush=True)
    other, networks = best_network(job, data, truth, error / 3, count)
    best = min(found, key=lambda n: found[n].cost)
    print(f"  RATIO {other} / particles ({best}): {networks.cost / found[best].cost:.2f}")
    note(f"networks to particles, {name}", networks.cost / found[best].cost, better="more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--job", action="append", choices=list(JOBS))
    parser.add_argument("--samples", type=int, action="append")
    parser.add_argument("--error", type=float, default=1e-3)
    parser.add_argument("--count", type=int, default=16, help="replicates of each side")
    parser.add_argument("--quick", action="store_true", help="the first job alone, few replicates")
    given = parser.parse_args()
    with threadpool_limits(1):
        for name in given.job or (["digits"] if given.quick else list(JOBS)):
            compare(name, given.samples or ([1024] if given.quick else [1024, 2048]), given.error,
                    min(given.count, 6) if given.quick else given.count)


if __name__ == "__main__":
    main()
