"""Linear residual networks of Tensor Programs VI in training, against the recursion for their coefficients (Lemma 4.3),
and tanh networks of growing depth, in the limit and at a finite width."""

from __future__ import annotations

import numpy as np
import pytest

import tensorprog

ETA = 0.2

LINEAR = f"""
width n
size L = 4
param T : int = 10
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
matrix W[L] : [n, n] ~ normal(0, 1/n)
for t in range(T):
    x = u
    for l in range(L):
        x += (W[l] @ x) / sqrt(L)
    f[t] = moment(v * x)
    size_of_last[t] = moment(x**2)
    loss = (f[t] - 1)**2 / 2
    v -= {ETA} * n * grad(loss, v)
    for l in range(L):
        W[l] -= {ETA} * grad(loss, W[l])
output f, size_of_last
"""


TANH = """
width n
size P, d
size L = 8
param T : int = 4
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        x = U @ X[a]
        for l in range(L):
            x += tanh(W[l] @ x) / sqrt(L)
        f[t, a] = moment(v * x)
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= 0.2 * n * grad(loss, U)
    v -= 0.2 * n * grad(loss, v)
    for l in range(L):
        W[l] -= 0.2 * grad(loss, W[l])
output f
"""


class Coefficients:
    """Vectors as coefficients of u, v and the Gaussian parts of W[l] @ x[l] and W[l].T @ d[l + 1] at every step."""

    def __init__(self, depth: int, steps: int):
        self.depth, self.steps = depth, steps
        self.covariance = np.zeros((2 + 2 * depth * steps,) * 2)
        self.covariance[:2, :2] = np.eye(2)

    def place(self, backward: int, layer: int, step: int) -> int:
        return 2 + (backward * self.depth + layer) * self.steps + step

    def unit(self, place: int) -> np.ndarray:
        return np.eye(len(self.covariance))[place]

    def mean(self, a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ self.covariance @ b)

    def new(self, backward: int, layer: int, args: list[np.ndarray]) -> np.ndarray:
        """The Gaussian part of a matrix applied to the last of all vectors that it has been applied to."""
        places = [self.place(backward, layer, s) for s in range(len(args))]
        for place, arg in zip(places, args):
            self.covariance[places[-1], place] = self.covariance[place, places[-1]] = self.mean(arg, args[-1])
        return self.unit(places[-1])


def recursion(depth: int, steps: int) -> tuple[list[float], list[float]]:
    """f and the mean square of the last layer at every step."""
    k, scale = Coefficients(depth, steps), depth**-0.5
    v, x, d, chi = k.unit(1), [], [], []
    found, squares = [], []
    for t in range(steps):
        x.append([k.unit(0)])
        for layer in range(depth):
            before = [x[s][layer] for s in range(t + 1)]
            image = k.new(0, layer, before)
            for s in range(t):  # responses to products with the transpose, and updates
                back = before[t][k.place(1, layer, s)] - ETA * scale * chi[s] * k.mean(before[s], before[t])
                image = image + back * d[s][layer + 1]
            x[t].append(before[t] + scale * image)
        found.append(k.mean(v, x[t][-1]))
        squares.append(k.mean(x[t][-1], x[t][-1]))
        chi.append(found[-1] - 1)
        d.append([v] * (depth + 1))
        for layer in reversed(range(depth)):
            above = [d[s][layer + 1] for s in range(t + 1)]
            image = k.new(1, layer, above)
            for s in range(t + 1):
                back = above[t][k.place(0, layer, s)]
                back -= ETA * scale * chi[s] * k.mean(above[s], above[t]) * (s < t)
                image = image + back * x[s][layer]
            d[t][layer] = above[t] + scale * image
        v = v - ETA * chi[t] * x[t][-1]
    return found, squares


@pytest.mark.parametrize("depth", [1, 5, 16])
def test_ten_steps_of_a_linear_residual_network(depth):
    found = tensorprog.compile(LINEAR).run(L=depth)
    f, squares = recursion(depth, 10)
    assert found.method == {"f": "span", "size_of_last": "span"}
    np.testing.assert_allclose(found["f"], f, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found["size_of_last"], squares, rtol=1e-9)


@pytest.mark.slow
def test_tanh_networks_as_their_depth_grows():
    """Depth-muP: L = 8 to 128 tend to a limit, which networks of width 256 and L = 8 to 64 tend to as well."""
    program = tensorprog.compile(TANH)
    data = {"X": np.array([[1.0, 0.5], [-0.4, 1.2]]), "y": np.array([1.0, -1.0])}
    limit = program.run(data, limit={"L": [8, 16, 32, 64, 128]}, samples=1024, replicates=4)
    network = program.simulate(data, limit={"L": [8, 16, 32, 64]}, width=256, seeds=64)
    assert limit.error["f"].max() < 0.05
    room = 3 * np.hypot(limit.error["f"], network.error["f"]) + 0.01
    assert np.all(np.abs(limit["f"] - network["f"]) < room), (limit["f"], network["f"])
