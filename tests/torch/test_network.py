"""Programs as modules: the same numbers as `simulate`, and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tensorprog
from tensorprog import ProgramError
from tensorprog.ir.functions import NONLINEARITIES
from tensorprog.runtime.functions import array_form
from tensorprog.torch.operations import UNARY, unary

NETWORK = """width n
width m = 2*n
size P, d, K
param L : int = 2
param beta = 0.3
input X : [P, d]
input k : [P] int
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, 1/n)
matrix V : [m, n] ~ normal(0, 1/n)
vector v : [m] ~ normal(0, 1)
vector b[K] : [m] ~ uniform(-1, 1)

def net(x, i):
    h = U @ x
    for l in range(L):
        h += beta * W[l] @ gelu(h) - W[l].T @ relu'(h) / (l + 2)
    z = V @ layernorm(h)
    return moment(v * tanh(z + b[i])) + sum(x[j]**2 for j in range(d)) / 10

for a in range(P):
    f[a] = net(X[a], k[a])
    if a > 0:
        g[a] = max(f[a], f[a-1])
output f, g
"""
DATA = {"X": np.random.default_rng(0).standard_normal((4, 3)), "k": np.array([0, 2, 1, 2])}


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_module_is_the_network_that_simulate_draws():
    program = tensorprog.compile(NETWORK)
    module = program.torch_module(32, seed=3, d=3, K=3)
    found, drawn = module(**DATA), program.simulate(DATA, width=32, seeds=1, seed=3, K=3)
    assert set(dict(module.named_parameters())) == {"U", "W_0", "W_1", "V", "v", "b_0", "b_1", "b_2"}
    for name in ("f", "g"):
        expected = drawn.samples[name][0]
        assert found[name].detach().numpy() == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_gradients_reach_parameters_and_inputs():
    module = tensorprog.compile(NETWORK).torch_module(2, d=3, K=3)
    x = torch.as_tensor(DATA["X"]).requires_grad_()

    def value(x, *parameters):
        names = [name for name, _ in module.named_parameters()]
        return torch.func.functional_call(module, dict(zip(names, parameters)), kwargs={"X": x, "k": DATA["k"]})["f"]

    assert torch.autograd.gradcheck(value, (x, *module.parameters()))
    before = module(X=x, k=DATA["k"])["f"]
    loss = (before**2).sum()
    loss.backward()
    torch.optim.SGD(module.parameters(), lr=1e-3).step()
    assert (module(X=x, k=DATA["k"])["f"] ** 2).sum() < loss


def test_every_nonlinearity_is_there():
    x = np.linspace(0.1, 3, 7)
    assert set(UNARY) == set(NONLINEARITIES)
    for name, function in NONLINEARITIES.items():
        assert unary(torch.as_tensor(x), fn=name).numpy() == pytest.approx(array_form(function)(x), rel=1e-12)


def test_mistakes():
    trained = "width n\nvector v : [n] ~ normal(0, 1)\nf = moment(v*v)\nv -= grad(f, v)\noutput f\n"
    with pytest.raises(ProgramError, match="TP808.*takes gradients itself"):
        tensorprog.compile(trained).torch_module(8)
    with pytest.raises(ProgramError, match="TP808.*the size 'd' is not known"):
        tensorprog.compile(NETWORK).torch_module(8)
    with pytest.raises(ProgramError, match="TP62"):
        tensorprog.compile(NETWORK).torch_module(8, d=3, K=3)(X=DATA["X"][:, :2], k=DATA["k"])
