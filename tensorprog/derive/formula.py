"""Formulas as ASCII text."""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import Expr
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from tensorprog.derive.order import ordered_factors, ordered_terms


class TextPrinter(StrPrinter):
    """Formulas as text; inside a superscript `label` the limit variables drop their Z."""

    printmethod = "_tensorprog_text"

    def __init__(self, label: bool = False):
        super().__init__({})
        self.label = label

    def parenthesize(self, item: sympy.Basic, level: int, strict: bool = False) -> str:
        # A sum is written without parentheses where it ends a product, and so has to have them in a power.
        if isinstance(item, sympy.Sum | sympy.Product) and level > PRECEDENCE["Mul"]:
            return f"({self._print(item)})"
        return super().parenthesize(item, level, strict)

    def _print_Z(self, expr: sympy.Basic) -> str:
        name, *indices = expr.args
        text = str(name) + (f"[{','.join(map(self._print, indices))}]" if indices else "")
        return text if self.label else f"Z^{{{text}}}"

    def _product(self, expr: sympy.Basic) -> str:
        matrix, transposed, arg = expr.args
        inner = TextPrinter(label=True)
        text = inner._print(arg)
        if arg.is_Mul or arg.is_Add or arg.func.__name__ == "Prod":
            text = f"({text})"
        return f"{inner._print(matrix)}{'.T' if transposed == 1 else ''} {text}"

    def _print_Prod(self, expr: sympy.Basic) -> str:
        return self._product(expr) if self.label else f"Z^{{{self._product(expr)}}}"

    def _print_GaussianPart(self, expr: sympy.Basic) -> str:
        return f"Zhat^{{{self._product(expr)}}}"

    def _print_Dot(self, expr: sympy.Basic) -> str:
        return f"Zdot^{{{self._product(expr)}}}"

    def _print_Rest(self, expr: sympy.Basic) -> str:
        return f"R^{{{self._product(expr)}}}"

    def _print_E(self, expr: sympy.Basic) -> str:
        return f"E[{TextPrinter()._print(expr.args[0])}]"

    def _print_Response(self, expr: sympy.Basic) -> str:
        value, hat = expr.args
        text = self._print(value)
        return f"d{text if value.func.__name__ in ('Z', 'Prod') else f'({text})'}/d{self._print(hat)}"

    def _print_OuterProduct(self, expr: sympy.Basic) -> str:
        left, right = (TextPrinter(label=True)._print(a) for a in expr.args)
        return f"outer({left}, {right})"

    def _print_InnerOfMatrices(self, expr: sympy.Basic) -> str:
        return f"dot({', '.join(map(self._print, expr.args))})"

    def _print_Transpose(self, expr: sympy.Basic) -> str:
        return f"{self._print(expr.args[0])}.T"

    def _print_Cov(self, expr: sympy.Basic) -> str:
        return f"Cov({', '.join(map(self._print, expr.args))})"

    def _print_Indexed(self, expr: sympy.Basic) -> str:
        return f"{expr.base.label}[{','.join(map(self._print, expr.indices))}]"

    def _print_NonlinearityBase(self, expr: sympy.Basic) -> str:
        return f"{expr.fn}{chr(39) * expr.order}({', '.join(map(self._print, expr.args))})"

    def _print_KroneckerDelta(self, expr: sympy.Basic) -> str:
        left, right = sorted(expr.args, key=lambda a: a.is_number)
        return f"[{self._print(left)} = {self._print(right)}]"

    def _print_Mod(self, expr: sympy.Basic) -> str:
        return f"{self.parenthesize(expr.args[0], PRECEDENCE['Mul'])} % {self._print(expr.args[1])}"

    def _print_Cases(self, expr: sympy.Basic) -> str:
        value, condition, otherwise = expr.args
        if value == 1 and otherwise == 0:
            return f"[{condition_text(condition)}]"
        last = self._print(otherwise)
        last = last[1:-1] if type(otherwise) is type(expr) and last.startswith("(") else last
        return f"({self._print(value)} if {condition_text(condition)} else {last})"

    def _print_Sum(self, expr: sympy.Basic) -> str:
        heads = " ".join(f"sum_{{{sum_range(self._print, *limit)}}}" for limit in reversed(expr.limits))
        return f"{heads} {self.parenthesize(expr.function, PRECEDENCE['Mul'], strict=True)}"

    def _print_Relational(self, expr: sympy.Basic) -> str:
        return condition_text(expr)

    def _print_Product(self, expr: sympy.Basic) -> str:
        return "prod" + self._print_Sum(expr).removeprefix("sum")

    def _print_Add(self, expr: Expr, order: str | None = None) -> str:
        text = ""
        terms = ordered_terms(expr)
        # Indices stand tight, as in `h[t-1]`; sums of values have gaps.
        gap = "" if expr.is_integer and all(len(sympy.Mul.make_args(t)) <= 2 and not t.has(sympy.Function)
                                            for t in terms) else " "
        for term in terms:
            negative = term.could_extract_minus_sign()
            body = self.parenthesize(-term if negative else term, PRECEDENCE["Add"])
            text += f"{gap}{'-' if negative else '+'}{gap}{body}" if text else f"-{body}" if negative else body
        return text

    def _print_Mul(self, expr: sympy.Basic) -> str:
        if expr.could_extract_minus_sign():
            body = self.parenthesize(-expr, PRECEDENCE["Mul"])
            return f"-{body}"
        top, bottom = sympy.fraction(expr)
        if bottom != 1:
            low = self._print(bottom) if not (bottom.is_Mul or bottom.is_Add) else f"({self._print(bottom)})"
            return f"{self._factors(top)}/{low}" if not top.is_Add else f"({self._print(top)})/{low}"
        return self._factors(expr)

    def _factors(self, expr: Expr) -> str:
        if not expr.is_Mul:
            return self._print(expr)
        factors = ordered_factors(expr)
        shown = [self.parenthesize(f, PRECEDENCE["Mul"]) for f in factors]
        last = len(factors) - 1
        return "*".join(f"({text})" if isinstance(f, sympy.Sum) and i < last else text
                        for i, (f, text) in enumerate(zip(factors, shown, strict=True)))


def sum_range(show: Callable[[Expr], str], symbol: Expr, low: Expr, high: Expr) -> str:
    """`s<t`, `s<=t`, `r>s` or `s=lo..hi`."""
    if low == 0:
        return f"{show(symbol)}<{show(high + 1)}" if not (high.is_Symbol and high.is_integer) else \
            f"{show(symbol)}<={show(high)}"
    return f"{show(symbol)}={show(low)}..{show(high)}"


def condition_text(condition: sympy.Basic) -> str:
    """A condition on indices."""
    show = TextPrinter()._print
    match condition:
        case sympy.And():
            return " and ".join(condition_text(c) for c in sorted(condition.args, key=str))
        case sympy.Or():
            return " or ".join(f"({condition_text(c)})" for c in sorted(condition.args, key=str))
        case sympy.Not():
            return f"not ({condition_text(condition.args[0])})"
        case sympy.core.relational.Relational():
            sign = {"==": "=", "!=": "!="}.get(condition.rel_op, condition.rel_op)
            return f"{show(condition.lhs)} {sign} {show(condition.rhs)}"
    return show(condition)


def formula(expr: Expr) -> str:
    """One expression."""
    return TextPrinter()._print(expr)
