"""Random well-typed programs, as source text.

`Generator(choose)` writes one program; `choose(k)` gives a number from 0 to k-1. `programs(...)` is the Hypothesis
strategy. Small numbers mean simple programs, so that shrinking the choices shrinks the program.

Every program is scaled as in the maximal update parametrization and grows at most linearly, so that it has a limit and
comes within O(1/n) of it. Gradients carry their power of n.

A gradient takes as constants what was computed from a variable before a later change of it (TP422), unlike the tape of
the finite interpreter. Therefore the variables of gradients are not changed by the programs, but for whole training
steps (`_train_loop`), in which everything is computed anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("TENSORPROG_EXAMPLES", "0"))


def quick(examples: int) -> settings:
    """Reproducible and short; with the environment variable TENSORPROG_EXAMPLES a long search with shrinking."""
    return settings(deadline=None, derandomize=True, max_examples=EXAMPLES or examples, database=None,
                    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
                    suppress_health_check=list(HealthCheck))


QUICK = quick(80)

SIZES = {"P": 2, "d": 2, "T": 3, "K": 2, "L": 2}

_SMOOTH = ("tanh", "erf", "sin", "sigmoid", "relu", "cos", "abs", "gelu", "softplus", "silu")


@dataclass(slots=True)
class Loop:
    """An open loop: its variable takes the values low .. high-1, upwards or downwards."""

    var: str
    low: int
    high: int


@dataclass(slots=True)
class Names:
    """What can be read at a place. Vectors by width; families with the range of their index."""

    vectors: dict[str, list[str]] = field(default_factory=lambda: {"n": [], "m": []})
    scalars: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    families: dict[str, tuple[str | None, int, int]] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Generated:
    """A program and its data."""

    text: str
    data_seed: int

    @property
    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.data_seed)
        p, d, t = SIZES["P"], SIZES["d"], SIZES["T"]
        return {"X": rng.normal(size=(p, d)), "y": rng.normal(size=p), "order": rng.integers(0, p, size=t)}

    @property
    def env(self) -> dict[str, object]:
        return {**self.data, **SIZES, "eta": 0.3}

    def __repr__(self) -> str:
        return f"program with data seed {self.data_seed}:\n{self.text}"


class Generator:
    """Writes one program.

    Args:
        choose: `choose(k)` is a number from 0 to k-1.
        gradients: whether `grad` occurs.
        steps: the number of statements.
    """

    def __init__(self, choose: Callable[[int], int], *, gradients: bool = True, steps: int = 8):
        self.choose, self.gradients, self.steps = choose, gradients, steps
        self.lines: list[str] = []
        self.loops: list[Loop] = []
        self.names = Names()
        self.matrices: dict[str, tuple[str, str]] = {"W": ("n", "n")}
        self.count = 0
        self.in_branch = 0
        self.functions: list[str] = []
        self.changing = {"v", "Q", "M"}
        self.blocks_open: list[str] = []

    # --- choices ---

    def pick(self, options):
        options = list(options)
        return options[self.choose(len(options))]

    def chance(self, one_in: int) -> bool:
        return self.choose(one_in) == one_in - 1

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("    " * len(self.blocks_open) + text)

    # --- the program ---

    def program(self) -> str:
        self._declarations()
        self._functions()
        for _ in range(1 + self.choose(self.steps)):
            self.statement(0)
        self._outputs()
        return "\n".join(self.lines) + "\n"

    def _declarations(self) -> None:
        put = self.lines.append
        put("width n")
        self.rectangular = self.chance(2)
        if self.rectangular:
            put(f"width m = {self.pick(['0.5', '2', '1.5'])}*n")
        put("size P, d, T, K, L")
        put("input X : [P, d]")
        put("input y : [P]")
        put("input order : [T] int")
        put("param eta = 0.3")
        put("matrix W : [n, n] ~ normal(0, 1/n)")
        put("matrix Q : [n, n] ~ normal(0, 0.8/n)")
        self.matrices["Q"] = ("n", "n")
        put("matrix B[L] : [n, n] ~ normal(0, 1/n)")
        if self.rectangular:
            put("matrix A : [m, n] ~ normal(0, 1/n)")
            self.matrices["A"] = ("m", "n")
            put("vector vm : [m] ~ normal(0, 1)")
            self._add_vector("vm", "m")
        put("matrix M : [n, n] = 0")
        self.matrices["M"] = ("n", "n")
        put("matrix U : [n, d] ~ normal(0, 1/d)")
        put("matrix V : [K, n] ~ normal(0, 1/n**2)")
        laws = ["normal(0, 1)", "normal(0.5, 1)", "rademacher()", "uniform(-1, 2)", "bernoulli(0.3)",
                "sparse_normal(0.4, 1)", "constant(0.7)"]
        put("vector u : [n] ~ normal(0, 1)")
        put(f"vector v : [n] ~ {self.pick(laws)}")
        put(f"vector w[L] : [n] ~ {self.pick(laws)}")
        self._add_vector("u", "n")
        self._add_vector("v", "n")
        self.names.families["w"] = ("n", 0, SIZES["L"])

    def _functions(self) -> None:
        put = self.lines.append
        kind = self.choose(4)
        if kind == 1:
            put("def layer(x) = tanh(x) + 0.2*x")
            self.functions.append("layer({})")
        elif kind == 2:
            put("def net(x):")
            put("    g[0] = x")
            put("    for i in range(L):")
            put("        g[i+1] = B[i] @ tanh(g[i])")
            put("    return g[L]")
            self.functions.append("net({})")
        elif kind == 3:
            put("def rec(x, depth):")
            put("    z = x")
            put("    for i in range(depth):")
            put("        z = 0.5*z + W @ erf(z)")
            put("    return z")
            self.functions.append("rec({}, 2)")

    def _outputs(self) -> None:
        shown = self.names.plain
        families = [f for f, (w, _, _) in self.names.families.items() if w is None]
        for k, name in enumerate([*shown[-6:], *families[-3:]]):
            self.lines.append(f"output {name} as o{k}")
        last = self.names.vectors["n"][-3:]
        for k, x in enumerate(last):
            self.lines.append(f"output moment({x} * u) as q{k}")
            self.lines.append(f"output moment(tanh({x})**2) as r{k}")
        self.lines.append("output moment(tanh(W @ u) * u) as wu")

    def _add_vector(self, name: str, width: str) -> None:
        if name not in self.names.vectors[width]:
            self.names.vectors[width].append(name)

    # --- expressions ---

    def widths(self):
        return ["n", "m"] if self.rectangular else ["n"]

    def index_into(self, low: int, high: int) -> str:
        """An index expression whose value is always in low .. high-1."""
        options = [str(low)] + [str(k) for k in range(low + 1, high)]
        for loop in self.loops:
            for shift in (0, 1, -1, 2):
                if low <= loop.low + shift and loop.high + shift <= high:
                    options.append(loop.var if not shift else f"{loop.var}{shift:+d}")
            flipped = loop.low + loop.high - 1
            if low <= loop.low and loop.high <= high:
                options.append(f"{flipped}-{loop.var}")
            if loop.high <= SIZES["T"] and loop.low >= 0 and low == 0 and high >= SIZES["P"]:
                options.append(f"order[{loop.var}]")
            if low == 0 and loop.low >= 0:
                options.append(f"{loop.var} % {high}")
        return self.pick(options)

    def atom(self, width: str) -> str:
        """A vector that can be read."""
        options = list(self.names.vectors[width][-8:])
        families = [(f, low, high) for f, (w, low, high) in self.names.families.items() if w == width]
        options += [None] * min(len(families), 3)
        chosen = self.pick(options)
        if chosen is not None:
            return chosen
        f, low, high = self.pick(families)
        return f"{f}[{self.index_into(low, high)}]"

    def nonlinear(self, width: str, depth: int) -> str:
        return f"{self.pick(_SMOOTH)}({self.vector(width, depth)})"

    def vector(self, width: str, depth: int = 2) -> str:
        """A vector expression, of order one."""
        if depth <= 0:
            return self.atom(width)
        kind = self.choose(14)
        if kind <= 1:
            return self.atom(width)
        if kind <= 4:
            return self.product(width, depth)
        if kind == 5:
            return self.nonlinear(width, depth - 1)
        if kind == 6:
            sign = self.pick("+-")
            return f"(0.7*{self.vector(width, depth - 1)} {sign} 0.5*{self.vector(width, depth - 1)})"
        if kind == 7:
            return f"({self.vector(width, depth - 1)} * {self.bounded(width, depth - 1)})"
        if kind == 8:
            return f"({self.bounded_scalar()} * {self.vector(width, depth - 1)})"
        if kind == 9 and width == "n":
            return self.finite_vector()
        if kind == 10 and width == "n" and self.functions:
            return self.pick(self.functions).format(self.vector(width, depth - 1))
        if kind == 11:
            return self.sum_of_vectors(width, depth)
        if kind == 12:
            fn = self.pick(["max", "min"])
            return f"{fn}({self.vector(width, depth - 1)}, {self.vector(width, depth - 1)})"
        if kind == 13:
            return self.pick([
                f"clip({self.vector(width, depth - 1)}, -1, 0.5)",
                f"({self.vector(width, depth - 1)} / (1 + {self.bounded(width, depth - 1)}**2))",
                f"{self.pick(['tanh', 'erf', 'sin', 'sigmoid'])}'({self.vector(width, depth - 1)})",
                f"tanh({self.vector(width, depth - 1)} - {self.bounded_scalar()})",
                f"(-{self.atom(width)})"])
        return self.product(width, depth)

    def bounded(self, width: str, depth: int) -> str:
        return f"{self.pick(['tanh', 'erf', 'sin', 'sigmoid'])}({self.vector(width, depth)})"

    def product(self, width: str, depth: int) -> str:
        """A matrix times a vector."""
        options = []
        for name, (rows, cols) in self.matrices.items():
            if rows == width:
                options.append((name, cols))
            if cols == width:
                options.append((f"{name}.T", rows))
        if width == "n":
            l = self.index_into(0, SIZES["L"])
            options += [(f"B[{l}]", "n"), (f"B[{l}].T", "n"), ("(W + W.T)", "n"), ("(0.5*W - 0.3*Q.T)", "n")]
        matrix, inner = self.pick(options)
        x = self.nonlinear(inner, depth - 1) if self.choose(2) else self.vector(inner, depth - 1)
        return f"({matrix} @ {x})"

    def finite_vector(self) -> str:
        """A vector made of width x finite matrices."""
        a = self.index_into(0, SIZES["P"])
        return self.pick([f"(U @ X[{a}])", f"(U[:, {self.index_into(0, SIZES['d'])}] * X[{a}, 1])",
                          f"(y[{a}] * U[:, 0])", f"(U @ (X[{a}] * y[{a}]))"])

    def sum_of_vectors(self, width: str, depth: int) -> str:
        """A comprehension over a finite index."""
        i, size = self.fresh("i"), self.pick(["P", "L"])
        self.loops.append(Loop(i, 0, SIZES[size]))
        inner = self.vector(width, depth - 1)
        self.loops.pop()
        weight = f"y[{i}]*" if size == "P" and self.chance(2) else ""
        filtered = self.pick(["", "", f" if {i} != 0", f" if {i} % 2 == 0"])
        kind = self.pick(["sum", "mean", "mean", "sum", "max", "min"])
        if kind in ("max", "min", "mean"):
            filtered = ""
        return f"{kind}({weight}{inner} for {i} in range({size}){filtered})"

    def scalar(self, depth: int = 2) -> str:
        """A scalar expression."""
        w = self.pick(self.widths())
        kind = self.choose(9)
        if kind <= 2:
            return f"moment({self.vector(w, depth)} * {self.bounded(w, depth - 1)})"
        if kind == 3:
            return f"moment({self.vector(w, depth)})"
        if kind == 4:
            return f"({self.bounded_scalar()} * moment({self.vector(w, depth)}))"
        if kind == 5:
            return f"moment(tanh({self.vector(w, depth)})**2)"
        if kind == 6:
            a, i = self.bounded_scalar(), self.fresh("i")
            self.loops.append(Loop(i, 0, SIZES["P"]))
            e = f"moment({self.vector(w, depth - 1)} * {self.bounded(w, depth - 1)})"
            self.loops.pop()
            fn = self.pick(["sum", "mean", "prod", "max"])
            return f"({a} + {fn}({e} for {i} in range(P)))"
        if kind == 7:
            return f"dot({self.vector(w, depth)}, {self.bounded(w, depth - 1)}) / {w}"
        return f"(V @ {self.vector('n', depth)})[{self.index_into(0, SIZES['K'])}]"

    def scalar_atom(self) -> str:
        options = list(self.names.scalars[-6:])
        families = [(f, low, high) for f, (w, low, high) in self.names.families.items() if w is None]
        options += [None] * min(2, len(families))
        options += [f"y[{self.index_into(0, SIZES['P'])}]", "eta", "0.4"]
        for loop in self.loops[-1:]:
            options.append(f"(0.3*{loop.var} + 0.2)")
        chosen = self.pick(options)
        if chosen is not None:
            return chosen
        f, low, high = self.pick(families)
        return f"{f}[{self.index_into(low, high)}]"

    def bounded_scalar(self) -> str:
        return self.pick([f"{self.pick(['tanh', 'sin'])}({self.scalar_atom()})", "0.5"])

    # --- statements ---

    def statement(self, depth: int) -> None:
        kinds = ["vector", "vector", "scalar", "reassign", "update", "loop", "chain", "fill", "matrix", "branch"]
        if self.gradients:
            kinds += ["gradient"] * 3 + ["train_loop"] * 2 + ["step", "matrix_gradient", "finite_gradient", "adapt"]
        if depth >= 2:
            kinds = [k for k in kinds if k not in ("loop", "branch", "train_loop", "chain", "fill", "adapt")]
        if self.in_branch:
            kinds = ["reassign", "update"]
        getattr(self, f"_{self.pick(kinds)}")(depth)

    def _vector(self, depth: int) -> None:
        w = self.pick(self.widths())
        text = self.vector(w, 3)
        name = self.fresh("x")
        self.line(f"{name} = {text}")
        self._add_vector(name, w)
        if self.loops or self.chance(2):
            self.changing.add(name)

    def _scalar(self, depth: int) -> str:
        text = self.scalar(2)
        name = self.fresh("s")
        self.line(f"{name} = {text}")
        self.names.scalars.append(name)
        self.names.plain.append(name)
        self.names.computed.append(name)
        return name

    def _named(self, width: str) -> list[str]:
        """Names of vectors that may change."""
        return [x for x in self.names.vectors[width] if x in self.changing]

    def _mutable(self) -> tuple[str, str]:
        """A vector that may change, and its width."""
        w = self.pick([w for w in self.widths() if self._named(w)])
        return self.pick(self._named(w)[-5:]), w

    def _variable(self, width: str) -> str:
        """A vector that never changes, for a gradient."""
        options = [x for x in self.names.vectors[width] if x not in self.changing and "[" not in x]
        options += [f"{f}[{self.index_into(low, high)}]" for f, (w, low, high) in self.names.families.items()
                    if w == width and f not in self.changing]
        return self.pick(options)

    def _variable_matrix(self) -> tuple[str, tuple[str, str]]:
        name = self.pick([*(m for m in self.matrices if m not in self.changing), "B"])
        return (f"B[{self.index_into(0, SIZES['L'])}]", ("n", "n")) if name == "B" else (name, self.matrices[name])

    def _reassign(self, depth: int) -> None:
        name, w = self._mutable()
        text = self.pick([f"tanh({self.vector(w, 2)}) + 0.2*{name}", f"0.5*{name} + 0.5*{self.vector(w, 2)}",
                          self.vector(w, 2), f"0.5*tanh({name}) + {self.product(w, 1)}"])
        self.line(f"{name} = {text}")

    def _update(self, depth: int) -> None:
        name, w = self._mutable()
        kind = self.choose(3)
        if kind == 0:
            self.line(f"{name} {self.pick(['+=', '-='])} 0.3*{self.vector(w, 2)}")
        elif kind == 1:
            self.line(f"{name} *= {self.bounded_scalar()}")
        elif self.names.plain:
            s = self.pick(self.names.plain)
            self.line(f"{s} {self.pick(['+=', '-='])} 0.5*tanh({self.scalar(1)})")
        else:
            self.line(f"{name} = 0.9*{name}")

    def _open(self, var: str, low: int, high: int, text: str) -> None:
        self.line(f"for {var} in range({text}):")
        self.loops.append(Loop(var, low, high))
        self.blocks_open.append(var)

    def _close(self) -> None:
        loop = self.loops.pop()
        self.blocks_open.pop()
        kept = self.names

        def outlives(name: str) -> bool:
            return not any(part == loop.var for part in _words(name))

        kept.vectors = {w: [x for x in xs if outlives(x)] for w, xs in kept.vectors.items()}
        kept.scalars = [s for s in kept.scalars if outlives(s)]
        kept.computed = [s for s in kept.computed if outlives(s)]

    def _range(self) -> tuple[int, int, str]:
        return self.pick([(0, SIZES["T"], "T"), (0, SIZES["P"], "P"), (1, SIZES["T"], "1, T"),
                          (0, SIZES["T"], "T-1, -1, -1"), (0, SIZES["L"], "L-1, -1, -1"), (0, SIZES["L"], "L")])

    def _loop(self, depth: int) -> None:
        var = self.fresh("t")
        low, high, text = self._range()
        self._open(var, low, high, text)
        for _ in range(1 + self.choose(3)):
            self.statement(depth + 1)
        self._fill_empty()
        self._close()

    def _chain(self, depth: int) -> None:
        """A family each of whose elements comes from the one before."""
        w, h, var = self.pick(self.widths()), self.fresh("h"), self.fresh("t")
        backwards = self.chance(3)
        size = SIZES["T"]
        self.line(f"{h}[{'T' if backwards else '0'}] = {self.vector(w, 1)}")
        self._open(var, 0, size, "T-1, -1, -1" if backwards else "T")
        source, target = (f"{h}[{var}+1]", f"{h}[{var}]") if backwards else (f"{h}[{var}]", f"{h}[{var}+1]")
        self._add_vector(source, w)
        if depth < 1 and self.chance(3):
            self.statement(depth + 1)
        before = self.pick([f"0.5*{source} + ", "", f"tanh({source}) + "])
        self.line(f"{target} = {before}{self.vector(w, 2)}")
        self._add_vector(target, w)
        if depth < 1 and self.chance(3):
            self.statement(depth + 1)
        self._close()
        if self.loops:
            self.changing.add(h)
        self.names.families[h] = (w, 0, size + 1)

    def _fill(self, depth: int) -> None:
        """A family of independent elements, of vectors or scalars."""
        w = self.pick([*self.widths(), None, None])
        z, var = self.fresh("z"), self.fresh("a")
        low, high, text = self.pick([(0, SIZES["P"], "P"), (0, SIZES["T"], "T"), (0, SIZES["P"], "P-1, -1, -1")])
        self._open(var, low, high, text)
        if depth < 1:
            for _ in range(self.choose(2)):
                self.statement(depth + 1)
        self.line(f"{z}[{var}] = {self.vector(w, 2) if w else self.scalar(2)}")
        self._close()
        if self.loops:
            self.changing.add(z)
        self.names.families[z] = (w, low, high)
        if w is None:
            for k in range(low, high):
                self.names.computed.append(f"{z}[{k}]")

    def _matrix(self, depth: int) -> None:
        name = self.pick([m for m in self.matrices if m in self.changing])
        rows, cols = self.matrices[name]
        kind = self.choose(5)
        x, z = self.bounded(rows, 1), self.bounded(cols, 1)
        if kind == 0:
            self.line(f"{name} -= {self.bounded_scalar()}/{cols} * outer({x}, {z})")
        elif kind == 1:
            self.line(f"{name} *= {self.pick(['0.8', self.bounded_scalar()])}")
        elif kind == 2 and not self.loops:
            self._copy("{}", self.pick(self.matrices))
        elif kind == 3 and not self.loops:
            self._copy(f"0.5*{{}} + 0.5/{cols}*outer({x}, {z})", name)
        elif kind == 4 and rows == cols:
            self.line(f"{name} = 0.6*{name} + 0.4*{self.pick(['W.T', 'Q', 'M', name + '.T'])}")
        else:
            self.line(f"{name} += {self.bounded_scalar()}/{cols} * outer({x}, {z})")

    def _copy(self, text: str, source: str) -> None:
        """A new matrix, from another one."""
        copy = self.fresh("C")
        self.line(f"{copy} = {text.format(source)}")
        self.matrices[copy] = self.matrices[source]
        self.changing.add(copy)

    def _fill_empty(self) -> None:
        """A statement, if the open block has none."""
        if self.lines[-1].endswith(":"):
            self.line("v = 0.9*v")

    def _branch(self, depth: int) -> None:
        if not self.loops:
            self._vector(depth)
            return
        var = self.loops[-1].var
        self.line(f"if {var} {self.pick(['== 0', '% 2 == 0', '< 1', '!= 1'])}:")
        for k in range(1 + self.choose(2)):
            if k:
                self.line("else:")
            self.blocks_open.append("if")
            self.in_branch += 1
            self.statement(depth)
            self._fill_empty()
            self.in_branch -= 1
            self.blocks_open.pop()

    # --- gradients ---

    def _scalar_for_gradient(self, depth: int) -> str:
        """A scalar already computed, or a new one."""
        if self.names.computed and self.choose(3):
            return self.pick(self.names.computed[-4:])
        return self._scalar(depth)

    def _gradient(self, depth: int) -> None:
        """g = n * grad(s, x)."""
        s = self._scalar_for_gradient(depth)
        w = self.pick(self.widths())
        x, g = self._variable(w), self.fresh("g")
        self.line(f"{g} = {w} * grad({s}, {x})")
        self._add_vector(g, w)

    def _matrix_gradient(self, depth: int) -> None:
        s = self._scalar_for_gradient(depth)
        kind = self.choose(4)
        name, (rows, cols) = self._variable_matrix()
        if kind == 0 and not self.loops:
            copy = self.fresh("G")
            self.line(f"{copy} = grad({s}, {name})")
            self.matrices[copy] = (rows, cols)
        elif kind == 1 and rows == cols:
            self.line(f"M = 0.9*M + grad({s}, {name})")
        elif kind == 2 and rows == cols:
            self.line(f"Q -= eta * grad({s}, {name})")
        else:
            g = self.fresh("g")
            self.line(f"{g} = grad({s}, {name}) @ {self.vector(cols, 1)}")
            self._add_vector(g, rows)

    def _finite_gradient(self, depth: int) -> None:
        """Gradients with respect to width x finite and finite x width matrices."""
        s, g = self._scalar_for_gradient(depth), self.fresh("g")
        self.line(f"{g} = {self.pick([f'n * grad({s}, U) @ X[0]', f'grad({s}, V)[1]'])}")
        self._add_vector(g, "n")

    def _step(self, depth: int) -> None:
        """A gradient step of something else than the variable."""
        s = self._scalar_for_gradient(depth)
        name, w = self._mutable()
        self.line(f"{name} -= eta * {w} * grad({s}, {self._variable(w)})")

    def _adapt(self, depth: int) -> None:
        """A copy is trained, and a gradient taken through the training."""
        if self.loops:
            self._gradient(depth)
            return
        c, r, f, t, i = (self.fresh(stem) for stem in ("C", "r", "f", "t", "i"))
        fn = self.pick(["tanh", "erf"])
        self.line(f"for {t} in range(T):")
        self.line(f"    {c} = W")
        self.line(f"    for {i} in range({self.pick(['P', 'L'])}):")
        x = self.vector("n", 1)
        self.line(f"        {c}e = moment(u * {fn}({c} @ {x}))")
        self.line(f"        {c} -= eta * grad({c}e, {c})")
        self.line(f"    {f}[{t}] = moment({fn}({c} @ {self.vector('n', 1)}) * u)")
        self.line(f"{r} = sum({f}[i] for i in range(T))")
        for name in (r, f"{f}[1]"):
            self.names.computed.append(name)
        self.names.scalars.append(r)
        self.names.plain.append(r)

    def _train_loop(self, depth: int) -> None:
        """Training of a small network with variables of its own."""
        if self.loops:
            self._step(depth)
            return
        k = self.fresh("")
        var, a, f, loss = f"t{k}", f"a{k}", f"f{k}", f"loss{k}"
        outside = (self.names, self.matrices, self.rectangular)
        self.line(f"a_{k} = {self.vector('n', 1)}")
        self.line(f"b_{k} = {self.vector('n', 1)}")
        self.line(f"W_{k} = {self.pick(['W', 'Q', 'W.T', '0.5*W + 0.5*Q'])}")
        self.names = Names({"n": [f"a_{k}", f"b_{k}"], "m": []}, families={"w": ("n", 0, SIZES["L"])})
        self.matrices = {f"W_{k}": ("n", "n"), "Q": ("n", "n")}
        self.rectangular = False
        self._open(var, 0, SIZES["T"], "T")
        single = self.chance(2)
        if not single and self.chance(2):
            self._scalar(depth)
        element = f"{f}[{var}, {a}]"
        self._open(a, 0, SIZES["P"], "P")
        if self.chance(2):
            self._own_family(k)
        self.line(f"{element} = moment({self.vector('n', 2)} * {self.nonlinear('n', 2)})")
        if single:
            self.line(f"{loss} = ({element} - y[{a}])**2 / 2")
            self._train_step(k, loss)
        self.loops.pop()
        self.blocks_open.pop()
        if not single:
            self.line(f"{loss}[{var}] = mean(({f}[{var}, i] - y[i])**2 for i in range(P)) / 2")
            self._train_step(k, f"{loss}[{var}]")
        self.loops.pop()
        self.blocks_open.pop()
        self.names, self.matrices, self.rectangular = outside
        if not single:
            self.names.families[loss] = (None, 0, SIZES["T"])
        self.names.plain.append(f"{f}[1, 1]")
        for x in (f"a_{k}", f"b_{k}"):
            self._add_vector(x, "n")
            self.changing.add(x)
        self.matrices[f"W_{k}"] = ("n", "n")
        self.changing.add(f"W_{k}")

    def _own_family(self, k: str) -> None:
        """Layers under a name that every sample fills anew."""
        l = f"l{k}"
        self.line(f"h{k}[0] = {self.vector('n', 1)}")
        self._open(l, 0, SIZES["L"], "L")
        self.line(f"h{k}[{l}+1] = {self.pick([f'W_{k}', f'B[{l}]', 'Q.T'])} @ tanh(h{k}[{l}])")
        self.loops.pop()
        self.blocks_open.pop()
        self._add_vector(f"h{k}[L]", "n")

    def _train_step(self, k: str, loss: str) -> None:
        self.line(f"a_{k} -= eta * n * grad({loss}, a_{k})")
        self.line(f"b_{k} -= eta * n * grad({loss}, b_{k})")
        self.line(f"W_{k} -= eta * grad({loss}, W_{k})")


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


@st.composite
def programs(draw, *, steps: int = 8, **options) -> Generated:
    """A random program."""
    generator = Generator(lambda k: draw(st.integers(0, k - 1)), steps=steps, **options)
    return Generated(generator.program(), draw(st.integers(0, 3)))


def random_program(seed: int, **options) -> Generated:
    """The program of a seed, for long searches."""
    rng = np.random.default_rng(seed)
    return Generated(Generator(lambda k: int(rng.integers(k)), **options).program(), int(rng.integers(4)))
