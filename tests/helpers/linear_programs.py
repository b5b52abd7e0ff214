"""Random programs whose vectors are linear in the initial ones, for Hypothesis."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

HEADER = """width n
width m = {ratio}*n
param eta = 0.2
matrix W : [m, n] ~ normal(0, 1/n)
matrix Q : [n, n] ~ normal(0.0, 0.5/n)
vector a[3] : [n] ~ {law}
vector b : [m] ~ normal(0.3, 1)
"""

LAWS = ["normal(0, 1)", "uniform(-1, 2)", "bernoulli(0.5)", "rademacher()", "sparse_normal(0.5, 2)"]


@st.composite
def linear_programs(draw, steps: int = 7) -> str:
    """The text of a program without inputs."""
    return _Writer(lambda options: draw(st.sampled_from(options))).program(steps)


class _Writer:
    def __init__(self, pick: Callable):
        self.pick = pick
        self.vectors = {"n": ["a[0]", "a[1]", "a[2]"], "m": ["b"]}
        self.scalars = ["0.3", "eta"]
        self.count = 0

    def program(self, steps: int) -> str:
        lines = [HEADER.format(ratio=self.pick(["1", "0.5", "2"]), law=self.pick(LAWS))]
        for _ in range(steps):
            kind = self.pick(["vector", "vector", "scalar", "loop", "matrix", "gradient"])
            lines += getattr(self, f"_{kind}")()
        named = [f"{s} as out{i}" for i, s in enumerate(self._moments())]
        return "\n".join([*lines, f"output {', '.join(named)}"]) + "\n"

    def _moments(self) -> list[str]:
        pairs = [(w, x) for w, names in self.vectors.items() for x in names[-3:]]
        return [f"moment({x} * {self._any(w)})" for w, x in pairs] + [f"moment({x})" for _, x in pairs]

    def _any(self, width: str) -> str:
        return self.pick(self.vectors[width])

    def _term(self, width: str) -> str:
        x = self._any(width)
        if width == "n":
            product = self.pick([f"Q @ {x}", f"Q.T @ {x}", f"W.T @ {self._any('m')}"])
        else:
            product = f"W @ {self._any('n')}"
        return self.pick([x, product, f"{self._scale()} * ({product})", f"{x} + {self._scale()}"])

    def _scale(self) -> str:
        s = self.pick(self.scalars)
        return self.pick([s, f"tanh({s})", f"sqrt(1 + {s}**2)"])

    def _name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def _vector(self) -> list[str]:
        width = self.pick(["n", "n", "m"])
        x = self._name("x")
        text = f"{x} = {self._term(width)} - 0.5 * ({self._term(width)})"
        self.vectors[width].append(x)
        return [text]

    def _scalar(self) -> list[str]:
        width = self.pick(["n", "m"])
        s = self._name("s")
        text = f"{s} = sin(moment({self._any(width)} * ({self._term(width)})))"
        self.scalars.append(s)
        return [text]

    def _loop(self) -> list[str]:
        width = self.pick(["n", "m"])
        x, y = self._name("x"), self._any(width)
        lines = [f"{x} = {y}", f"for t{self.count} in range(3):",
                 f"    {x} = 0.5 * {x} + 0.3 * ({self._term(width)})"]
        if width == "n":
            lines.append(f"    {x} = 0.6 * (Q @ {x}) + 0.2 * moment({x} * {self._any('n')}) * {x}")
        self.vectors[width].append(x)
        return lines

    def _matrix(self) -> list[str]:
        u, v = self._any("m"), self._any("n")
        options = [f"W -= {self._scale()} / n * outer({u}, {v})", "W *= 0.9", f"Q += 0.2 / n * outer({v}, {v})"]
        return [self.pick(options)]

    def _gradient(self) -> list[str]:
        loss, u = self._name("s"), self._name("x")
        lines = [f"{u} = {self._any('n')}", f"{loss} = (moment({self._any('m')} * (W @ {u})) - 1)**2",
                 f"{u} -= eta * n * grad({loss}, {u})"]
        self.vectors["n"].append(u)
        return lines
