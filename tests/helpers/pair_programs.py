"""Pair programs built by hand, a loader for what is emitted from them, and a slow interpreter as the reference."""

from __future__ import annotations

import importlib.util
import itertools
from functools import lru_cache
from pathlib import Path

import numpy as np
import sympy

from tensorprog.ir.integers import IntLit, IntSym, evaluate_int, int_bin
from tensorprog.pairs.codegen import (
    AddTo,
    Diagonal,
    Dual,
    Gram,
    Number,
    PairLoop,
    PairProduct,
    PairProgram,
    Power,
    Quotient,
    Ref,
    RowInput,
    RunParameter,
    ScratchArray,
    Set,
    Sum,
    emit_pair_kernel,
)

X = sympy.Symbol("x", real=True)
RELU, ERF, GELU = (X + abs(X)) / 2, sympy.erf(X), X * (1 + sympy.erf(X / sympy.sqrt(2))) / 2
STEP = (1 + sympy.sign(X)) / 2
TANH, SIGMOID = sympy.tanh(X), 1 / (1 + sympy.exp(-X))
SWISH, SOFTPLUS = X * SIGMOID, sympy.log(1 + sympy.exp(X))

_counter = itertools.count()


def derivative(phi: sympy.Expr) -> sympy.Expr:
    return STEP if phi == RELU else sympy.sign(X) if phi == abs(X) else phi.diff(X)


def dual(phi: sympy.Expr, psi: sympy.Expr, name: str = "k") -> Dual:
    return Dual(phi, psi, Ref(name), Ref(name), Ref(name))


def mlp_pair_program(*activations: sympy.Expr) -> PairProgram:
    """NNGP and NTK of a perceptron: `blocks` times the activations in turn, weights of variance sw2, biases of sb2.

    A forward loop keeps the kernel and the derivative's kernel of every layer, a backward loop multiplies them.
    """
    width, blocks, block = len(activations), IntSym("blocks", "size"), IntSym("block", "loop")
    layers = int_bin("*", IntLit(width), blocks)
    forward = []
    for position, phi in enumerate(activations):
        layer = int_bin("+", int_bin("*", IntLit(width), block), IntLit(position))
        forward += [Set(Ref("D", (layer,)), PairProduct((RunParameter("sw2"), dual(derivative(phi), derivative(phi))))),
                    Set(Ref("k"), Sum((PairProduct((RunParameter("sw2"), dual(phi, phi))), RunParameter("sb2")))),
                    Set(Ref("K", (int_bin("+", layer, IntLit(1)),)), Ref("k"))]
    layer = IntSym("layer", "loop")
    body = (
        Set(Ref("k"), Sum((PairProduct((RunParameter("sw2"), RunParameter("scale"), Ref("g"))), RunParameter("sb2")))),
        Set(Ref("K", (IntLit(0),)), Ref("k")),
        PairLoop("block", IntLit(0), blocks, 1, tuple(forward)),
        Set(Ref("theta"), Ref("k")),
        Set(Ref("back"), Number(1.0)),
        PairLoop("layer", int_bin("-", layers, IntLit(1)), IntLit(-1), -1, (
            Set(Ref("back"), PairProduct((Ref("back"), Ref("D", (layer,))))),
            AddTo(Ref("theta"), PairProduct((Ref("back"), Ref("K", (layer,))))))))
    return PairProgram("mlp", (Gram("g", "X", "X"),), ("sw2", "sb2", "scale"), ("blocks",), body,
                       (("nngp", Ref("k")), ("ntk", Ref("theta"))),
                       (ScratchArray("K", (int_bin("+", layers, IntLit(1)),)), ScratchArray("D", (layers,))))


def load(program: PairProgram, folder: Path):
    """The module emitted for a program."""
    name = f"pair_kernel_{next(_counter)}"
    path = Path(folder) / f"{name}.py"
    path.write_text(emit_pair_kernel(program))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=64)
def _function(phi: sympy.Expr):
    f = sympy.lambdify(X, phi, "scipy")
    return lambda x: f(x) + 0.0 * x


def two_point(phi: sympy.Expr, psi: sympy.Expr, kaa: float, kab: float, kbb: float, nodes: int = 160) -> float:
    """E[phi(u) psi(v)] by Gauss-Legendre quadrature on rectangles that end at u = 0 and v = 0."""
    t, w = np.polynomial.legendre.leggauss(nodes)
    t, w = (t + 1) / 2, w / 2
    radius = 9.5
    su = np.sqrt(kaa)
    slope = kab / su if su else 0.0
    sv = np.sqrt(max(kbb - slope**2, 0.0))
    z = np.concatenate([-radius * t, radius * t])
    wz = np.concatenate([w, w]) * radius * np.exp(-z**2 / 2) / np.sqrt(2 * np.pi)
    if sv < 1e-9:
        return float(np.sum(wz * _function(phi)(su * z) * _function(psi)(slope * z)))
    split = np.clip(-slope * z / sv, -radius, radius)
    inner = np.zeros_like(z)
    for low, high in ((-radius + 0 * z, split), (split, radius + 0 * z)):
        y = low[:, None] + (high - low)[:, None] * t
        inner += (high - low) * ((np.exp(-y**2 / 2) * _function(psi)(slope * z[:, None] + sv * y)) @ w)
    return float(np.sum(wz * _function(phi)(su * z) * inner) / np.sqrt(2 * np.pi))


def interpret(program: PairProgram, a: dict, b: dict, params: dict) -> dict[str, float]:
    """The outputs for one pair of rows, statement by statement: states for (a, a), (a, b) and (b, b) side by side."""
    rows = {"aa": (a, a), "ab": (a, b), "bb": (b, b)}
    states = {key: {(g.name,): float(left[g.left] @ right[g.right]) for g in program.grams}
              for key, (left, right) in rows.items()}
    _run(program.body, states, rows, dict(params))
    return {name: states["ab"][_place(ref, params)] for name, ref in program.outputs}


def _place(ref: Ref, env: dict) -> tuple:
    return (ref.name, *(evaluate_int(i, env) for i in ref.index))


def _run(body, states: dict, rows: dict, env: dict) -> None:
    for statement in body:
        if isinstance(statement, PairLoop):
            for value in range(evaluate_int(statement.start, env), evaluate_int(statement.stop, env), statement.step):
                _run(statement.body, states, rows, env | {statement.var: value})
            continue
        values = {key: _value(statement.value, key, states, rows, env) for key in states}
        place = _place(statement.target, env)
        for key, state in states.items():
            state[place] = values[key] + (state[place] if isinstance(statement, AddTo) else 0.0)


def _value(expr, key: str, states: dict, rows: dict, env: dict) -> float:
    def value(e):
        return _value(e, key, states, rows, env)

    def own(ref, side):
        return states[key["ab".index(side)] * 2][_place(ref, env)]

    match expr:
        case Number(number):
            return number
        case RunParameter(name):
            return env[name]
        case Ref():
            return states[key][_place(expr, env)]
        case Diagonal(ref, side):
            return own(ref, side)
        case RowInput(name, side, index):
            return float(np.asarray(rows[key]["ab".index(side)][name])[tuple(evaluate_int(i, env) for i in index)])
        case Sum(args):
            return sum(value(a) for a in args)
        case PairProduct(args):
            return float(np.prod([value(a) for a in args]))
        case Quotient(numerator, denominator):
            return value(numerator) / value(denominator)
        case Power(base, exponent):
            return value(base) ** exponent
        case Dual(phi, psi, kaa, kab, kbb):
            return two_point(phi, psi, own(kaa, "a"), value(kab), own(kbb, "b"))


#: The GP kernel of one hidden layer; `phi` is to be filled in, and outputs follow.
ONE_LAYER = """width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def phi(x) = {phi}
for a in range(P):
    f[a] = dot(v, phi(U @ X[a])) / sqrt(n)
for a in range(P):
    for c in range(P):
        nngp[a, c] = cov(f[a], f[c])
"""
