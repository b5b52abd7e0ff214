"""A derivation as LaTeX: aligned equations that need amsmath only, and a standalone document."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import sympy
from sympy import Expr, S
from sympy.printing.latex import LatexPrinter

from tensorprog.derive.notes import TYPESET
from tensorprog.derive.order import ordered_factors, ordered_terms
from tensorprog.derive.rules import Derivation, Index, Rule
from tensorprog.derive.symbols import Atom, E
from tensorprog.display.breaking import WIDTH, broken, seen
from tensorprog.display.formats import DerivationFormat
from tensorprog.display.text import independence

GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
         "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"}

# The characters that the indentation of later lines takes.
CONTINUED = 4

OUTER_NOTE = r"Here $u \otimes x$ takes $z$ to $\mathbb{E}[Z^{x} Z^{z}] Z^{u}$."

SPECIAL = str.maketrans({"_": r"\_", "%": r"\%", "#": r"\#", "&": r"\&", "$": r"\$", "{": r"\{", "}": r"\}",
                         "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"})


class FormulaPrinter(LatexPrinter):
    """Formulas as LaTeX; inside a superscript `label` the limit variables drop their Z."""

    # Not SymPy's "_latex": methods of the objects in formulas for that would be used here.
    printmethod = "_tensorprog_latex"

    def __init__(self, label: bool = False):
        super().__init__({})
        self.label = label

    def _print_Symbol(self, expr: Any, style: str = "plain") -> str:
        return name_latex(expr.name)

    def _indexed(self, name: str, indices: tuple[Expr, ...]) -> str:
        text = name_latex(name)
        return f"{text}_{{{', '.join(map(self._print, indices))}}}" if indices else text

    def _print_Z(self, expr: Any) -> str:
        text = FormulaPrinter(label=True)._indexed(str(expr.args[0]), expr.args[1:])
        return text if self.label else f"Z^{{{text}}}"

    def _product(self, expr: Any) -> str:
        matrix, transposed, arg = expr.args
        inner = FormulaPrinter(label=True)
        text = inner._print(arg)
        # W (x + y), and W (V x).
        if arg.is_Add or arg.is_Mul or arg.func.__name__ == "Prod":
            text = rf"\left({text}\right)"
        top = f"{{{inner._print(matrix)}}}^{{\\top}}" if transposed == 1 else inner._print(matrix)
        return f"{top} {text}"

    def _print_Prod(self, expr: Any) -> str:
        return self._product(expr) if self.label else f"Z^{{{self._product(expr)}}}"

    def _print_GaussianPart(self, expr: Any) -> str:
        return rf"\hat{{Z}}^{{{self._product(expr)}}}"

    def _print_Dot(self, expr: Any) -> str:
        return rf"\dot{{Z}}^{{{self._product(expr)}}}"

    def _print_Rest(self, expr: Any) -> str:
        return f"R^{{{self._product(expr)}}}"

    def _print_E(self, expr: Any) -> str:
        return rf"\mathbb{{E}}\left[{self._print(expr.args[0])}\right]"

    def _print_Cov(self, expr: Any) -> str:
        return rf"\operatorname{{Cov}}\left({', '.join(map(self._print, expr.args))}\right)"

    def _print_Response(self, expr: Any) -> str:
        return rf"\frac{{\partial {self._print(expr.args[0])}}}{{\partial {self._print(expr.args[1])}}}"

    def _print_LawBase(self, expr: Any) -> str:
        args = ", ".join(map(self._print, expr.args))
        name = expr.func.__name__
        head = r"\mathcal{N}" if name == "normal" else rf"\mathrm{{{name_text(name)}}}"
        return rf"{head}\left({args}\right)"

    def _print_OuterProduct(self, expr: Any, exp: str | None = None) -> str:
        left, right = (FormulaPrinter(label=True)._print(a) for a in expr.args)
        return rf"\left({left} \otimes {right}\right)^{{{exp}}}" if exp else rf"{left} \otimes {right}"

    def _print_InnerOfMatrices(self, expr: Any, exp: str | None = None) -> str:
        left, right = map(self._print, expr.args)
        inner = rf"\left\langle {left}, {right} \right\rangle"
        return rf"{inner}^{{{exp}}}" if exp else inner

    def _print_Transpose(self, expr: Any) -> str:
        return f"{{{self._print(expr.args[0])}}}^{{\\top}}"

    def _print_Indexed(self, expr: Any) -> str:
        return self._indexed(str(expr.base.label), expr.indices)

    def _print_NonlinearityBase(self, expr: Any, exp: str | None = None) -> str:
        power = f"^{{{exp}}}" if exp else ""
        args = ", ".join(map(self._print, expr.args))
        return rf"\mathrm{{{expr.fn}}}{chr(39) * expr.order}\left({args}\right){power}"

    def _print_KroneckerDelta(self, expr: Any, exp: str | None = None) -> str:
        # t = 0, and not 0 = t.
        left, right = sorted(expr.args, key=lambda a: a.is_number)
        return rf"\mathbf{{1}}\left[{self._print(left)} = {self._print(right)}\right]"

    def _print_Cases(self, expr: Any, exp: str | None = None) -> str:
        value, condition, otherwise = expr.args
        power = f"^{{{exp}}}" if exp else ""
        if value == 1 and otherwise == 0:
            return rf"\mathbf{{1}}\left[{self._print(condition)}\right]{power}"
        rows = [rf"{self._print(value)} & \text{{if }} {self._print(condition)}"]
        while type(otherwise) is type(expr):
            value, condition, otherwise = otherwise.args
            rows.append(rf"{self._print(value)} & \text{{if }} {self._print(condition)}")
        rows.append(rf"{self._print(otherwise)} & \text{{otherwise}}")
        return rf"\begin{{cases}} {f' {chr(92) * 2} '.join(rows)} \end{{cases}}{power}"

    def _print_Pow(self, expr: Any) -> str:
        if not isinstance(expr.base, Atom | E | sympy.Sum | sympy.Indexed | sympy.KroneckerDelta):
            return super()._print_Pow(expr)
        base = self._print(expr.base)
        if expr.exp == S.Half:
            return rf"\sqrt{{{base}}}"
        base = base if isinstance(expr.base, E) else rf"\left({base}\right)"
        return f"{base}^{{{self._print(expr.exp)}}}"

    def _print_Sum(self, expr: Any) -> str:
        heads = " ".join(f"\\sum_{{{self._range(*limit)}}}" for limit in reversed(expr.limits))
        return f"{heads} {self._factor(expr.function)}"

    def _print_Product(self, expr: Any) -> str:
        heads = " ".join(f"\\prod_{{{self._range(*limit)}}}" for limit in reversed(expr.limits))
        return f"{heads} {self._factor(expr.function)}"

    def _range(self, symbol: Expr, low: Expr, high: Expr) -> str:
        if low == 0:
            return f"{self._print(symbol)} < {self._print(high + 1)}"
        return f"{self._print(low)} \\le {self._print(symbol)} \\le {self._print(high)}"

    def _print_Add(self, expr: Any, order: Any = None) -> str:
        text = ""
        for term in ordered_terms(expr):
            negative = term.could_extract_minus_sign()
            body = self._print(-term if negative else term)
            text += f" {'-' if negative else '+'} {body}" if text else f"-{body}" if negative else body
        return text

    def _print_Mul(self, expr: Any) -> str:
        if expr.could_extract_minus_sign():
            return f"-{self._factor(-expr)}"
        # Sums stand beside a fraction, because they are too tall for its top.
        top, bottom = sympy.fraction(expr)
        if bottom != 1:
            sums = [f for f in sympy.Mul.make_args(top) if f.has(sympy.Sum)]
            rest = sympy.Mul(*(f for f in sympy.Mul.make_args(top) if not f.has(sympy.Sum)))
            fraction = rf"\frac{{{self._print(rest)}}}{{{self._print(bottom)}}}"
            return " ".join([fraction, *map(self._factor, sums)])
        factors = ordered_factors(expr)
        return " ".join(rf"\left({self._print(f)}\right)" if isinstance(f, sympy.Sum) and i < len(factors) - 1
                        else self._factor(f) for i, f in enumerate(factors))

    def _factor(self, expr: Expr) -> str:
        text = self._print(expr)
        return rf"\left({text}\right)" if expr.is_Add else text


def name_latex(name: str) -> str:
    r"""`h2` as it is, in italics, `eta` as `\eta`, `c_1` with a subscript, `h.2` as `h^{(2)}`."""
    stem, _, copy = name.partition(".")
    text = _stem_latex(stem)
    return f"{{{text}}}^{{({copy})}}" if copy else text


def _stem_latex(stem: str) -> str:
    # What is a word, perhaps with a number; other names, with underscores in them, are set as words.
    match = re.fullmatch(r"([A-Za-z]+)(?:_(\d+)|(\d*))", stem)
    if match is None:
        return rf"\mathit{{{name_text(stem)}}}"
    letters, number, digits = match.groups(default="")
    # Programs write `lam`, as in Python, where `lambda` is a keyword.
    letters = {"lam": "lambda"}.get(letters, letters)
    if letters in GREEK:
        core = f"\\{letters}" + (rf"\mathit{{{digits}}}" if digits else "")
    else:
        core = letters if len(letters + digits) == 1 else rf"\mathit{{{letters}{digits}}}"
    return f"{{{core}_{{{number}}}}}" if number else core


def name_text(name: str) -> str:
    return name.translate(SPECIAL)


def formula_latex(expr: Expr) -> str:
    """One expression."""
    return FormulaPrinter()._print(expr)


def rule_latex(rule: Rule, mark: str = "&") -> str:
    """One equation, with an alignment mark before the sign, in as many lines as it takes to fit on a page."""
    left, right = formula_latex(rule.left), formula_latex(rule.right)
    lines = broken(right, max(WIDTH - seen(left), WIDTH // 2), WIDTH - CONTINUED)
    if rule.condition != S.true:
        condition = rf"\text{{if }} {formula_latex(rule.condition)}"
        fits = seen(lines[-1]) + seen(condition) + (seen(left) if len(lines) == 1 else CONTINUED) <= WIDTH
        lines = [*lines[:-1], rf"{lines[-1]} \quad {condition}"] if fits else [*lines, condition]
    return f"{left} {mark}{chr(92) + 'sim' if rule.is_law else '='} " + f" \\\\\n{mark}\\quad ".join(lines)


def indices_latex(indices: tuple[Index, ...]) -> str:
    """The ranges of indices, for text mode."""
    return ", ".join(rf"${formula_latex(i.symbol)} = {formula_latex(i.low)}, \dots, {formula_latex(i.high)}$"
                     for i in indices)


def aligned(rules: list[Rule]) -> str:
    """Equations as one aligned block, to stand in display mode."""
    return "\\begin{aligned}\n" + " \\\\\n".join(rule_latex(r) for r in rules) + "\n\\end{aligned}"


def groups(derivation: Derivation) -> list[tuple[str, tuple[Index, ...], list[Rule]]]:
    """The equations by section and indices, in order."""
    return [(section, indices, list(rules)) for (section, indices), rules
            in groupby(derivation.rules, key=lambda r: (r.section, r.indices))]


def derivation_latex(derivation: Derivation, steps: bool = False) -> str:
    """A standalone document."""
    lines = [r"\documentclass{article}", r"\usepackage[utf8]{inputenc}", r"\usepackage{amsmath,amssymb}",
             r"\allowdisplaybreaks", r"\begin{document}",
             rf"\noindent The infinite-width limit of \texttt{{{name_text(derivation.name)}}}.", ""]
    section = ""
    for title, indices, rules in groups(derivation):
        if title != section:
            section = title
            lines += [rf"\paragraph{{{title}.}}"]
            if rules[0].kind == "matrix":
                lines.append(OUTER_NOTE)
        if indices:
            lines.append(rf"\noindent For {indices_latex(indices)}:")
        lines += [r"\begin{align*}", " \\\\\n".join(rule_latex(r) for r in rules), r"\end{align*}"]
        lines += [rf"\noindent {TYPESET.get(note) or words_latex(note)}" for note in dict.fromkeys(r.note for r in rules if r.note)]
    if derivation.families:
        lines.append(rf"\noindent {independence(families_latex(derivation))}")
    if steps and derivation.steps:
        lines += [r"\paragraph{Steps}", r"\begin{itemize}"]
        lines += [rf"\item \textbf{{{s.name}}}: {words_latex(s.text)}" for s in derivation.steps]
        lines.append(r"\end{itemize}")
    return "\n".join([*lines, r"\end{document}", ""])


def families_latex(derivation: Derivation) -> str:
    """The Gaussian families, for text mode."""
    return ", ".join(rf"$\hat{{Z}}^{{{f'{{{name_latex(m)}}}^{{{chr(92)}top}}' if t else name_latex(m)} \cdot}}$"
                     for m, t in derivation.families)


def words_latex(text: str) -> str:
    """A sentence with formulas in the notation of the text output, in typewriter where it has any."""
    return text.translate(SPECIAL)


LATEX = DerivationFormat("latex", "a document that needs amsmath and amssymb", derivation_latex)
