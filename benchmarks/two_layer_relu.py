"""CPU seconds for the final loss of a two-layer ReLU network to 2e-3: 10 points, 50 steps of full-batch descent.

Particles (examples/two_layer_relu.tp, 8 x 16384 particles) beside an alternating Monte-Carlo solution of the dynamical
mean field equations of the same training (Bordelon & Pehlevan, arXiv 2205.09653, 12 damped iterations, 1000 samples),
written here in NumPy. That method steps the errors with the kernel, D(t+1) = D(t) - eta K(t) D(t), so its own limit
differs from gradient descent at finite step size; particles step the network. The reference is a long particle run.

    python benchmarks/two_layer_relu.py
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from figures import note
from threadpoolctl import threadpool_limits

import tensorprog

PROGRAM = Path(__file__).parents[1] / "examples" / "two_layer_relu.tp"
ETA, STEPS, POINTS, DIMENSION = 0.01, 50, 10, 25


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


def timed(function) -> tuple[object, float]:
    start = time.process_time()
    value = function()
    return value, time.process_time() - start


def main() -> None:
    program = tensorprog.compile(PROGRAM)
    settings = {"T": STEPS, "eta": ETA}
    with threadpool_limits(1):
        long = program.run(data(), samples=65536, replicates=8, seed=77, **settings)
        truth = float(long["loss"][-1])
        print(f"final loss of gradient descent: {truth:.6f} +- {long.error['loss'][-1]:.1e}")
        result, ours = timed(lambda: program.run(data(), samples=16384, **settings))
        distance = abs(float(result["loss"][-1]) / truth - 1)
        print(f"particles (8 x 16384): {ours:.2f} CPU s, relative distance {distance:.1e}, "
              f"reported error {float(result.error['loss'][-1]) / truth:.1e}")
        for samples in (1000, 4000):
            value, seconds = timed(lambda s=samples: mean_field(s, 12, 0))
            print(f"mean field, S = {samples}: {seconds:.2f} CPU s, relative distance {value / truth - 1:+.1e}, "
                  f"RATIO of CPU time {seconds / ours:.2f}")
            note(f"mean field to particles, S = {samples}", seconds / ours, better="more")


if __name__ == "__main__":
    main()
