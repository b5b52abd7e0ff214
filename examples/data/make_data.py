"""Write the small data sets of the examples: `python examples/data/make_data.py`.

Everything but `digits_0_1.npz` needs NumPy only. The digits come from scikit-learn, which is not a dependency of
tensorprog: without it the committed file is left as it is.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def save(name: str, **arrays: np.ndarray) -> None:
    np.savez(HERE / f"{name}.npz", **arrays)


def points_on_sphere(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    """Random points of squared norm `dimension`."""
    X = rng.standard_normal((count, dimension))
    return X * np.sqrt(dimension / (X**2).sum(1, keepdims=True))


def regression(rng: np.random.Generator, count: int, dimension: int) -> dict[str, np.ndarray]:
    """Inputs on a sphere and labels +-1 given by the sign of a quadratic function of the first two coordinates."""
    X = points_on_sphere(rng, count, dimension)
    return {"X": X, "y": np.where(X[:, 0] + 0.5 * X[:, 0] * X[:, 1] > 0, 1.0, -1.0)}


def synthetic() -> None:
    rng = np.random.default_rng(0)
    batch = regression(rng, 4, 3)
    save("batch", **batch)
    save("minibatches", **batch, order=rng.permuted(np.tile(np.arange(4), (10, 1)), axis=1).reshape(20, 2))
    save("batch10", **regression(rng, 10, 5))
    save("sequences", X=points_on_sphere(rng, 12, 4).reshape(3, 4, 4))
    save("tokens", X=points_on_sphere(rng, 5, 8))
    # Three contexts and three words: context i goes with word i, the other words are negative samples.
    ctx = np.repeat(np.tile(np.arange(3), 10), 2)
    negative = (ctx[1::2] + rng.integers(1, 3, 30)) % 3
    word = np.stack([ctx[::2], negative], axis=1).ravel()
    save("words", ctx=ctx, word=word, y=np.tile([1.0, 0.0], 30))
    # MAML: every task is a linear function of the input; two support and two query points per task.
    teacher = rng.standard_normal((20, 3)) * 0.3 + np.array([1.0, -0.5, 0.0])
    XS, XQ = points_on_sphere(rng, 40, 3).reshape(20, 2, 3), points_on_sphere(rng, 40, 3).reshape(20, 2, 3)
    save("tasks", XS=XS, yS=np.einsum("tpi,ti->tp", XS, teacher), XQ=XQ, yQ=np.einsum("tpi,ti->tp", XQ, teacher))
    rng = np.random.default_rng(2)
    save("random_labels", X=points_on_sphere(rng, 6, 3), y=np.sign(rng.standard_normal(6)))


def digits() -> None:
    """The first 100 images of a 0 or a 1, with squared norm 64 (the number of pixels)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        print("scikit-learn is missing: digits_0_1.npz is left as it is")
        return
    images, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(labels < 2)[:100]
    X = images[chosen] / 16
    save("digits_0_1", X=X * np.sqrt(64 / (X**2).sum(1, keepdims=True)), y=np.where(labels[chosen] == 1, 1.0, -1.0))


if __name__ == "__main__":
    synthetic()
    digits()
