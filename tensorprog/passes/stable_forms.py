"""Written-out forms of sigmoid, softplus and tanh as these functions, which do not overflow and whose growth is known.

    a / (1 + exp(u))                              a * sigmoid(-u)
    a * exp(u) / (1 + exp(u))                     a * sigmoid(u)
    log(1 + exp(u))                               softplus(u)
    (exp(u) - exp(-u)) / (exp(u) + exp(-u))       tanh(u)

The exponential of a row of norm 1000 is infinite, and infinity over infinity no number; the functions are as exact there as
anywhere. Runs before gradients are taken, so that derivatives are those of the functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.ir.build import Builder
from tensorprog.ir.program import Const, Elementwise, Let, Op, Program, Statement, Var, walk
from tensorprog.passes.differentiate import used_names
from tensorprog.passes.rewrite import map_blocks
from tensorprog.passes.simplify import simplify


def with_stable_forms(program: Program) -> Program:
    """The program with these forms replaced, simplified if there are some."""
    ops = {s.var: s.op for s in walk(program.body) if isinstance(s, Let)}
    if not any(isinstance(op, Elementwise) and op.fn == "exp" for op in ops.values()):
        return program
    body = _Rewriter(ops, Builder(used_names(program))).block(program.body)
    return program if body == program.body else simplify(program.with_body(body))


@dataclass(frozen=True)
class _Rewriter:
    ops: dict[Var, Op]
    builder: Builder

    def block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        with self.builder.nested() as out:
            for statement in body:
                self.builder.span = getattr(statement, "span", None)
                stable = self._stable(statement.op) if isinstance(statement, Let) else None
                if stable is not None and isinstance(statement, Let):
                    self.builder.append(Let(statement.var, stable, span=statement.span))
                else:
                    self.builder.append(map_blocks(statement, self.block))
        return tuple(out)

    def _stable(self, op: Op) -> Elementwise | None:
        match op:
            case Elementwise(fn="log", order=0, args=(a,)) if (u := self._one_and_exponential(a)) is not None:
                return Elementwise("softplus", (u,))
            case Elementwise(fn="div", order=0, args=(a, b)):
                if (u := self._one_and_exponential(b)) is not None:
                    return self._logistic(a, u)
                return self._hyperbolic(a, b)
        return None

    def _logistic(self, a: Var, u: Var) -> Elementwise | None:
        """a / (1 + exp(u)); a may have exp(u) as a factor."""
        if self._is_exponential(a, u):
            return Elementwise("sigmoid", (u,))
        match self.ops.get(a):
            case Elementwise(fn="mul", order=0, args=(x, y)):
                for other, factor in ((x, y), (y, x)):
                    if self._is_exponential(factor, u):
                        return Elementwise("mul", (other, self.builder.elementwise("sigmoid", u)))
        sigmoid = self.builder.elementwise("sigmoid", self._negative(u))
        return Elementwise("mul", (a, sigmoid))

    def _hyperbolic(self, a: Var, b: Var) -> Elementwise | None:
        top, bottom = self.ops.get(a), self.ops.get(b)
        if not (isinstance(top, Elementwise) and top.fn == "sub" and isinstance(bottom, Elementwise) and bottom.fn == "add"):
            return None
        u, v = (self._exponent(x) for x in top.args)
        below = [self._exponent(x) for x in bottom.args]
        if u is None or v is None or not self._opposite(u, v) or None in below:
            return None
        first, second = below
        assert first is not None and second is not None
        if self._same(u, first) and self._same(v, second) or self._same(u, second) and self._same(v, first):
            return Elementwise("tanh", (u,))
        return None

    # --- what values are ---

    def _one_and_exponential(self, a: Var) -> Var | None:
        """u of 1 + exp(u)."""
        op = self.ops.get(a)
        if isinstance(op, Elementwise) and op.fn == "add":
            for one, other in (op.args, op.args[::-1]):
                if self.ops.get(one) == Const(1):
                    return self._exponent(other)
        return None

    def _exponent(self, a: Var) -> Var | None:
        match self.ops.get(a):
            case Elementwise(fn="exp", order=0, args=(u,)):
                return u
        return None

    def _is_exponential(self, a: Var, u: Var) -> bool:
        """Whether a value is exp(u)."""
        exponent = self._exponent(a)
        return exponent is not None and self._same(exponent, u)

    def _negative(self, u: Var) -> Var:
        match self.ops.get(u):
            case Elementwise(fn="neg", order=0, args=(v,)):
                return v
        return self.builder.neg(u)

    def _same(self, a: Var, b: Var) -> bool:
        """Whether two values are alike by their last operation: equal ones are shared before this pass, but for loads
        that a gradient is taken by."""
        return a == b or a in self.ops and self.ops[a] == self.ops.get(b) and isinstance(self.ops[a], Elementwise)

    def _opposite(self, a: Var, b: Var) -> bool:
        for x, y in ((a, b), (b, a)):
            match self.ops.get(x):
                case Elementwise(fn="neg", order=0, args=(z,)) if self._same(z, y):
                    return True
                case Elementwise(fn="mul", order=0, args=(c, z)) if self._same(z, y) and self.ops.get(c) == Const(-1):
                    return True
        return False
