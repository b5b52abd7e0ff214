"""Kernels of infinitely wide networks in scikit-learn: its own estimators, on real digits, beside RBF."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from places import EXAMPLES

import tensorprog
from tensorprog.diagnostics import ProgramError

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor  # noqa: E402
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel  # noqa: E402
from sklearn.kernel_ridge import KernelRidge  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

from tensorprog.sklearn import LimitKernel  # noqa: E402

NETWORK = """
width n
size P, d
size L = 2
param sw = 1.5
param sb = 0.1
input X : [P, d]
matrix U : [n, d] ~ normal(0, sw/d)
vector c : [n] ~ normal(0, sb)
matrix W[L] : [n, n] ~ normal(0, sw/n)
vector b[L] : [n] ~ normal(0, sb)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    h = U @ X[a] + c
    for l in range(L):
        h = W[l] @ relu(h) + b[l]
    f[a] = dot(v, relu(h)) / sqrt(n)
for a in range(P):
    for e in range(P):
        nngp[a, e] = cov(f[a], f[e])
output nngp
"""
PROGRAM = tensorprog.compile(NETWORK)


@pytest.fixture
def kernel() -> LimitKernel:
    return LimitKernel(PROGRAM)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(EXAMPLES / "data" / "digits_0_1.npz") as data:
        return data["X"], np.sign(data["y"])


def arc_cosine(X: np.ndarray, Y: np.ndarray, sw: float, sb: float, depth: int) -> np.ndarray:
    """The kernel of that network, by the recursion of Cho and Saul (2009) with biases."""
    norms = [sw * np.sum(Z * Z, axis=1) / X.shape[1] + sb for Z in (X, Y)]
    K = sw * X @ Y.T / X.shape[1] + sb
    for level in range(depth + 1):
        scale = np.sqrt(np.outer(*norms))
        angle = np.arccos(np.clip(K / scale, -1, 1))
        K = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        norms = [q / 2 for q in norms]
        if level < depth:
            K, norms = sw * K + sb, [sw * q + sb for q in norms]
    return K


def test_the_known_kernel(kernel):
    X, Y = (np.random.default_rng(i).normal(size=(n, 5)) for i, n in enumerate((7, 4)))
    np.testing.assert_allclose(kernel(X, Y), arc_cosine(X, Y, 1.5, 0.1, 2), rtol=1e-6)
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-12)
    rows = np.random.default_rng(3).normal(size=(300, 5))
    np.testing.assert_allclose(kernel.diag(rows), np.diag(kernel(rows)), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_gradients_by_the_logarithms_of_parameters(scale):
    kernel = LimitKernel(PROGRAM, settings={"sw": 0.7 * scale, "sb": 0.3 * scale})
    X = np.random.default_rng(0).normal(size=(5, 4))
    value, gradient = kernel(X, eval_gradient=True)
    np.testing.assert_array_equal(value, kernel(X))
    for k, step in enumerate(np.eye(2) * 1e-3):
        up, down = (kernel.clone_with_theta(kernel.theta + s * step)(X) for s in (1, -1))
        np.testing.assert_allclose(gradient[:, :, k], (up - down) / 2e-3, rtol=1e-5)


def test_parameters(kernel):
    assert kernel.get_params()["sw"] == 1.5 and kernel.get_params()["L"] == 2
    assert [h.name for h in kernel.hyperparameters] == ["sw", "sb"]
    np.testing.assert_allclose(np.exp(kernel.theta), [1.5, 0.1])
    other = clone(kernel).set_params(sw=2.0, L=3)
    assert other.settings == {"L": 3, "sw": 2.0, "sb": 0.1} and kernel.settings["sw"] == 1.5
    assert clone(other) == other != kernel
    assert "sw=2" in repr(other)
    fixed = LimitKernel(PROGRAM, settings={"sb": 0.0}, bounds={"sw": "fixed"})
    assert [h.name for h in fixed.hyperparameters if not h.fixed] == [] and len(fixed.theta) == 0
    assert kernel(np.eye(3), eval_gradient=True)[1].shape == (3, 3, 2)
    assert fixed(np.eye(3), eval_gradient=True)[1].shape == (3, 3, 0)


def test_a_pickle(kernel):
    copy = pickle.loads(pickle.dumps(kernel.set_params(sw=2.5)))
    np.testing.assert_array_equal(copy(np.eye(3)), kernel(np.eye(3)))


def test_gaussian_processes_optimize_the_program_s_parameters(kernel, digits):
    X, y = digits
    start = kernel + WhiteKernel(0.1)
    fitted = GaussianProcessRegressor(start).fit(X[:60], y[:60])
    before = GaussianProcessRegressor(start, optimizer=None).fit(X[:60], y[:60])
    assert fitted.log_marginal_likelihood_value_ > before.log_marginal_likelihood_value_ + 1
    assert fitted.kernel_.k1.settings["sw"] != 1.5
    value, gradient = fitted.log_marginal_likelihood(start.theta, eval_gradient=True)
    for k, step in enumerate(1e-4 * np.eye(3)):
        apart = [fitted.log_marginal_likelihood(start.theta + s * step) for s in (1, -1)]
        assert gradient[k] == pytest.approx((apart[0] - apart[1]) / 2e-4, rel=1e-3, abs=1e-4)
    mean, deviation = fitted.predict(X[60:], return_std=True)
    assert np.mean(np.sign(mean) == y[60:]) >= 0.95 and (deviation > 0).all()


def test_real_digits_beside_rbf(kernel, digits):
    X, y = digits
    width = np.sqrt(X.var() * X.shape[1])
    for ours, theirs in ((SVC(kernel=kernel, C=10), SVC(kernel=RBF(width), C=10)),
                         (KernelRidge(kernel=kernel, alpha=0.01), KernelRidge(kernel=RBF(width), alpha=0.01)),
                         (GaussianProcessClassifier(kernel, optimizer=None),
                          GaussianProcessClassifier(ConstantKernel() * RBF(width), optimizer=None))):
        scores = [_accuracy(model, X, y) for model in (ours, theirs)]
        assert scores[0] >= 0.95 and scores[0] >= scores[1] - 0.03


def _accuracy(model, X: np.ndarray, y: np.ndarray) -> float:
    half = np.arange(len(y)) % 2 == 0
    return float(np.mean(np.sign(model.fit(X[half], y[half]).predict(X[~half])) == y[~half]))


def test_search_over_parameters_and_sizes(kernel, digits):
    X, y = digits
    search = GridSearchCV(SVC(kernel=kernel), {"kernel__L": [1, 3], "kernel__sw": [1.0, 2.0]}, cv=2).fit(X, y)
    assert set(search.best_params_) == {"kernel__L", "kernel__sw"} and search.best_score_ > 0.9
    assert np.isfinite(cross_val_score(SVC(kernel=2.0 * kernel), X, y, cv=2)).all()


def test_rows_are_reshaped():
    text = """
width n
size P, S, d
input X : [P, S, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    f[a] = dot(v, mean(relu(U @ X[a, s]) for s in range(S))) / sqrt(n)
for a in range(P):
    for c in range(P):
        K[a, c] = cov(f[a], f[c])
output K
"""
    rows = np.random.default_rng(0).normal(size=(6, 12))
    found = LimitKernel(text, "K", settings={"S": 3, "d": 4})(rows, rows[:2])
    np.testing.assert_allclose(found, tensorprog.compile(text).kernels(rows.reshape(6, 3, 4))["K"][:, :2], rtol=1e-10)
    for settings in ({"S": 3}, {"S": 5, "d": 4}):
        with pytest.raises(ProgramError, match="TP733"):
            LimitKernel(text, "K", settings=settings)(rows)


@pytest.mark.parametrize("options", [{"output": "ngp"}, {"settings": {"sv": 1.0}}, {"bounds": {"sv": (1, 2)}}])
def test_mistakes(options):
    with pytest.raises(ProgramError, match="TP733"):
        LimitKernel(PROGRAM, **options)
    with pytest.raises(ProgramError, match="TP733"):
        LimitKernel("width n\nparam threads = 1\nvector v : [n] ~ normal(0, 1)\noutput moment(v)*threads as q", "q")
    with pytest.raises(ProgramError, match="TP632"):
        LimitKernel(tensorprog.compile(NETWORK, {"sw": 1.0}), settings={"sw": 2.0})
