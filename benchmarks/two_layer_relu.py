"""CPU seconds for the final loss of a two-layer ReLU network: 10 points, 50 steps of full-batch descent.

Particles (examples/two_layer_relu.tp) beside an alternating Monte-Carlo solution of the dynamical mean field equations of the
same training (Bordelon & Pehlevan, arXiv 2205.09653, 12 damped iterations), written here in NumPy. That method steps the errors with
the kernel, D(t+1) = D(t) - eta K(t) D(t), so its own limit differs from gradient descent at finite step size; particles step the
network. Sides are compared at equal error, the root mean square of relative distances over seeds from a long particle
run: for each number of samples of the other method, the cheapest run of particles that is as accurate. Where more is wanted than
that method gives at all, 8 x 16384 particles reach some 5e-4.

    python benchmarks/two_layer_relu.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from figures import note
from threadpoolctl import threadpool_limits

import tensorprog

PROGRAM = Path(__file__).parents[1] / "examples" / "two_layer_relu.tp"
ETA, STEPS, POINTS, DIMENSION = 0.01, 50, 10, 25
#: Runs of each kind.
SEEDS = 12


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"X": rng.normal(size=(POINTS, DIMENSION)), "y": np.sign(rng.normal(size=POINTS))}


def mean_field(samples: int, iterations: int, seed: int, damping: float = 0.7) -> float:
    """The final loss by the alternating method; for one hidden layer there are no response functions."""
    rng = np.random.default_rng(seed)
    X, y = data()["X"], data()["y"]
    gram = X @ X.T
    root = np.linalg.cholesky(gram / DIMENSION + 1e-10 * np.eye(POINTS))
    features = np.repeat(_relu_kernel(gram / DIMENSION)[None], STEPS, 0)
    gradients = np.repeat(np.eye(POINTS)[None] * 0.5, STEPS, 0)
    for _ in range(iterations):
        errors = _descend(y, features, gradients, gram)
        new_features, new_gradients = _fields(rng, root, gram, errors, samples)
        features = damping * new_features + (1 - damping) * features
        gradients = damping * new_gradients + (1 - damping) * gradients
    return float(np.mean(_descend(y, features, gradients, gram)[-1] ** 2) / 2)


def _relu_kernel(gram: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.diag(gram))
    cosine = np.clip(gram / np.outer(size, size), -1, 1)
    angle = np.arccos(cosine)
    return np.outer(size, size) * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)


def _descend(y: np.ndarray, features: np.ndarray, gradients: np.ndarray, gram: np.ndarray) -> np.ndarray:
    errors = [y.copy()]
    for t in range(STEPS - 1):
        errors.append(errors[-1] - ETA / POINTS * (features[t] + gradients[t] * gram) @ errors[-1])
    return np.array(errors)


def _fields(rng: np.random.Generator, root: np.ndarray, gram: np.ndarray, errors: np.ndarray,
            samples: int) -> tuple[np.ndarray, np.ndarray]:
    h, z = rng.normal(size=(samples, POINTS)) @ root.T, rng.normal(size=(samples, 1))
    features, gradients = [], []
    for error in errors:
        active = (h > 0) * z
        phi = np.maximum(h, 0)
        features.append(phi.T @ phi / samples)
        gradients.append(active.T @ active / samples)
        h, z = h + ETA / POINTS * (active * error) @ gram, z + ETA / POINTS * (phi @ error)[:, None]
    return np.array(features), np.array(gradients)


def distance(one: Callable[[int], float], truth: float) -> tuple[float, float]:
    """CPU seconds of a run, and the root mean square over seeds of its relative distance from the truth."""
    one(10**6)
    start = time.process_time()
    found = np.array([one(seed) for seed in range(SEEDS)])
    return (time.process_time() - start) / SEEDS, float(np.sqrt(np.mean((found / truth - 1) ** 2)))


def main() -> None:
    program = tensorprog.compile(PROGRAM)

    def particles(samples: int, replicates: int, seed: int) -> tensorprog.Result:
        return program.run(data(), samples=samples, replicates=replicates, seed=seed, threads=1, T=STEPS, eta=ETA)

    with threadpool_limits(1):
        long = particles(65536, 8, 77)
        truth = float(long["loss"][-1])
        print(f"final loss of gradient descent: {truth:.6f} +- {long.error['loss'][-1]:.1e}")
        ours = {}
        for samples, replicates in ((64, 2), (128, 2), (256, 4), (1024, 8), (16384, 8)):
            ours[f"{replicates} x {samples}"] = seconds, off = distance(
                lambda seed, n=samples, r=replicates: float(particles(n, r, seed)["loss"][-1]), truth)
            print(f"particles, {replicates} x {samples}: {seconds:.3f} CPU s, relative distance {off:.1e}", flush=True)
        for samples in (1000, 4000):
            theirs, allowed = distance(lambda seed, n=samples: mean_field(n, 12, seed), truth)
            name, seconds = next((name, seconds) for name, (seconds, off) in ours.items() if off <= allowed)
            print(f"mean field, S = {samples}: {theirs:.3f} CPU s, relative distance {allowed:.1e}, "
                  f"RATIO of CPU time to particles as accurate ({name}): {theirs / seconds:.2f}")
            note(f"mean field to particles at equal error, S = {samples}", theirs / seconds, better="more")


if __name__ == "__main__":
    main()
