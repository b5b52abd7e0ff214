"""The syntax tree of a `.tp` file: what the parser makes and the checker reads.

    Module   = Statement*
    Statement = WidthDecl | SizeDecl | ParamDecl | InputDecl | MatrixDecl | VectorDecl
              | Assign | ForStmt | IfStmt | FuncDef | Return | OutputStmt | Pass
    Expr     = NumberExpr | Name | IndexExpr | Slice | CallExpr | TransposeExpr | Unary | Binary | Compare | BoolOp | Not
              | IfExp | Comprehension | TupleExpr

Nodes are immutable. `span` is keyword-only and takes no part in comparison, so `parse(unparse(tree)) == tree`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorprog.diagnostics import Span


@dataclass(frozen=True, slots=True)
class TreeNode:
    span: Span | None = field(default=None, compare=False, kw_only=True, repr=False)


# --- expressions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NumberExpr(TreeNode):
    """A literal. `value` is an int for `12`, a float for `0.5`, `1e-3`, `2.`."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Name(TreeNode):
    id: str


@dataclass(frozen=True, slots=True)
class IndexExpr(TreeNode):
    """`base[items]`; an item is an expression or a `Slice`."""

    base: Expr
    items: tuple[Expr | Slice, ...]


@dataclass(frozen=True, slots=True)
class Slice(TreeNode):
    """`start:stop` inside an index, either part may be missing. Steps are not part of the language."""

    start: Expr | None
    stop: Expr | None


@dataclass(frozen=True, slots=True)
class CallExpr(TreeNode):
    """`func(args)`, `tanh''(h)` (primes = 2), `ntk(f, g; U, W)` (the part after `;` is `wrt`).

    `primes_span` and the like are not kept: the span covers the whole call and `func_span` the name with its primes.
    """

    func: str
    primes: int
    args: tuple[Expr, ...]
    wrt: tuple[Expr, ...] = ()
    func_span: Span | None = field(default=None, compare=False, kw_only=True, repr=False)


@dataclass(frozen=True, slots=True)
class TransposeExpr(TreeNode):
    """`base.T`"""

    base: Expr


@dataclass(frozen=True, slots=True)
class Unary(TreeNode):
    """`-x` or `+x`"""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(TreeNode):
    """`left op right`, op one of `+ - * / // % ** @`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(TreeNode):
    """`a < b <= c`: operands a, b, c and ops `<`, `<=`. Ops: `== != < <= > >=`."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoolOp(TreeNode):
    """`a and b and c` (op 'and') or `a or b` (op 'or')."""

    op: str
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Not(TreeNode):
    operand: Expr


@dataclass(frozen=True, slots=True)
class IfExp(TreeNode):
    """`then if condition else orelse`"""

    condition: Expr
    then: Expr
    orelse: Expr


@dataclass(frozen=True, slots=True)
class Clause(TreeNode):
    """`for var in range(args) if c1 if c2` inside a comprehension."""

    var: str
    range_args: tuple[Expr, ...]
    filters: tuple[Expr, ...]
    var_span: Span | None = field(default=None, compare=False, kw_only=True, repr=False)


@dataclass(frozen=True, slots=True)
class Comprehension(TreeNode):
    """`sum(element for a in range(P) if a != b)`; func is the name before the parenthesis."""

    func: str
    element: Expr
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class TupleExpr(TreeNode):
    """`a, b` where a tuple may stand: `return a, b`, `a, b = f(x)`."""

    items: tuple[Expr, ...]


Expr = (NumberExpr | Name | IndexExpr | CallExpr | TransposeExpr | Unary | Binary | Compare | BoolOp | Not | IfExp | Comprehension
        | TupleExpr)


# --- declarations --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declared(TreeNode):
    """A declared name; `family` holds the extents of `vector w[L]` (empty for a single object)."""

    name: str
    family: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class WidthDecl(TreeNode):
    """`width n` or `width m = 2*n`"""

    name: Declared
    value: Expr | None


@dataclass(frozen=True, slots=True)
class SizeDecl(TreeNode):
    """`size P, d` or `size K = 10` (a default belongs to a single name)"""

    names: tuple[Declared, ...]
    default: Expr | None


@dataclass(frozen=True, slots=True)
class ParamDecl(TreeNode):
    """`param eta = 0.1`, `param T : int = 20`, `param eta`; kind is 'real' or 'int'"""

    name: Declared
    kind: str
    default: Expr | None


@dataclass(frozen=True, slots=True)
class InputDecl(TreeNode):
    """`input X : [P, d]` with an optional `int` or `real` after the shape"""

    name: Declared
    shape: tuple[Expr, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class LawExpr(TreeNode):
    """`normal(0, 1/n)`, `rademacher()`, ..."""

    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class MatrixDecl(TreeNode):
    """`matrix W[L] : [n, n] ~ normal(0, 2/n)`; law is None for `= 0`"""

    name: Declared
    shape: tuple[Expr, ...]
    law: LawExpr | None


@dataclass(frozen=True, slots=True)
class VectorDecl(TreeNode):
    """`vector v : [n] ~ normal(0, 1)`; law is None for `= 0`"""

    name: Declared
    shape: tuple[Expr, ...]
    law: LawExpr | None


# --- statements ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign(TreeNode):
    """`target op value`, op one of `= += -= *= /=`; target is a Name, an IndexExpr or (with `=`) a TupleExpr of them"""

    target: Expr
    op: str
    value: Expr


@dataclass(frozen=True, slots=True)
class ForStmt(TreeNode):
    """`for var in range(args): body`"""

    var: str
    range_args: tuple[Expr, ...]
    body: tuple[Statement, ...]
    var_span: Span | None = field(default=None, compare=False, kw_only=True, repr=False)


@dataclass(frozen=True, slots=True)
class IfStmt(TreeNode):
    """`if c: ... elif d: ... else: ...`: branches (c, body), (d, body) and the body of else (empty if missing)"""

    branches: tuple[tuple[Expr, tuple[Statement, ...]], ...]
    orelse: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class FuncDef(TreeNode):
    """`def f(a, b): body` or the one-line `def f(u) = expression` (then `expression` is set and body is empty)"""

    name: Declared
    params: tuple[Declared, ...]
    body: tuple[Statement, ...]
    expression: Expr | None


@dataclass(frozen=True, slots=True)
class Return(TreeNode):
    value: Expr


@dataclass(frozen=True, slots=True)
class OutputStmt(TreeNode):
    """`output f, loss` and `output moment(x*y) as c01`: items (expression, alias or None)"""

    items: tuple[tuple[Expr, Declared | None], ...]


@dataclass(frozen=True, slots=True)
class Pass(TreeNode):
    """`pass`"""


Declaration = WidthDecl | SizeDecl | ParamDecl | InputDecl | MatrixDecl | VectorDecl
Statement = (WidthDecl | SizeDecl | ParamDecl | InputDecl | MatrixDecl | VectorDecl | Assign | ForStmt | IfStmt | FuncDef
             | Return | OutputStmt | Pass)


@dataclass(frozen=True, slots=True)
class Module(TreeNode):
    statements: tuple[Statement, ...]
