"""Source of a planned expectation, for Numba."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from keyword import iskeyword
from math import copysign, isfinite

import sympy
from sympy import Expr, Function, Mul, S, Symbol
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.pycode import PythonCodePrinter

from tensorprog.expectations.affine import Affine
from tensorprog.expectations.functions import own_names, step
from tensorprog.expectations.guarded import GUARDED, accurate, rounding, sign_of_sum
from tensorprog.expectations.intervals import in_intervals
from tensorprog.expectations.quadrature import NATURAL, XI, Integral

TOLERANCE = 1e-12
#: How much of its terms a closed form must be, and the largest variance, for it to have 11 digits; and for all of them.
CANCELLED, LARGE, EXACT = 1e-5, 100.0, 1e-2
#: A sum of means plus a Gaussian has a mean sign that is known to 11 digits if the deviation is this share of the means, or
#: if the sum is so many deviations and another share of the means.
SINGULAR, CERTAIN, UNCERTAIN = 1e-4, 10.0, 1e-9
#: Of the sizes of terms that cancel: what rounding them leaves. What is added to the number of an integral's function for the
#: integral of these sizes, and for the one over all variables.
ROUNDED, SIZES, WHOLE = 4e-16, 10, 20
#: What is larger is no size.
HUGE = 1e300
#: Beyond this squared correlation an expectation may hang on the last digits of the covariance, which are moved so far to
#: see it; but if two variables are the same, their covariance is exact. Of what this changes, rounding is left out. The
#: number of the function that is called twice.
NEAR, MOVED, SEEN, INNER = 1 - 2e-5, 1 - 4 * 2.0**-52, 1e-14, 9
# Each halves the spacing in every dimension: 2**4 = 16 times as fine in two, 4 times in three.
LEVELS = {2: 5, 3: 3}  # halvings of the spacing that are affordable in each dimension
NUMERIC = ("sign", "kink_points", "log_erfc", "over_erfc", "refinement_error", "trapezoid_points")
DRIVERS = {"address_of": "tensorprog.runtime.pointers", "gaussian_expectation": "tensorprog.runtime.quadrature"}

#: The variance of one variable, the covariance, and the variance of the other.
Pair = tuple[Expr, Expr, Expr]

# Names that the emitted function has another use for.
_RESERVED = re.compile("|".join([
    r"[xuw]i?\d", r"[qemw]\d*_", r"s\d+_\d+", r"[cnkfvr]\d*_\d*", r"expectation\w*",
    "level|points|weights|planes|covariance|numbers|total|size|before|difference|p|y|z|_",
    "math|numpy|njit|range|abs|max|min|float", *(f.__name__ for f in GUARDED), *NUMERIC, *DRIVERS]))


def _called() -> tuple[str, ...]:
    """What emitted text calls by its name."""
    return (*(f.__name__ for f in GUARDED), *own_names())


@dataclass(frozen=True)
class Instead:
    """What stands in for a closed form where that is a small difference of the terms in `size`, the value without
    cancellation, where one of some variances is large, or where one of some `signs` of sums is that of rounding errors: near
    a singular covariance."""

    integral: Integral
    size: Expr
    variances: tuple[Expr, ...]
    signs: tuple[sign_of_sum, ...]

    @property
    def limits(self) -> list[Expr]:
        """The numbers that decide, in this order; three for a sign: the sum, its size, and the deviation."""
        signs = [e for sign in self.signs for a, b, s in [sign.args] for e in (a + b, abs(a) + abs(b), s)]
        return [self.size, *self.variances, *signs]


class expm1(Function):
    """exp(x) - 1."""

    nargs = 1


class complementary_erf(Function):
    """1 - erf(x); SymPy's own writes erfc(-x) as 2 - erfc(x)."""

    nargs = 1


class over_erfc(Function):
    """exp(u) / erfc(x)**k, of which both parts vanish in floating point numbers where their quotient does not."""

    nargs = 3


class log_erfc(Function):
    """log(1 - erf(x))."""

    nargs = 1


def log_of_one_more(expr: Expr) -> bool:
    """Whether this is log(1 + x): digits of a small x are kept by log1p."""
    return isinstance(expr, sympy.log) and isinstance(expr.args[0], sympy.Add) and expr.args[0].args[0] == 1


class where_positive(Function):
    """The second argument where the first is positive, else 0, whatever the second is there."""

    nargs = 2


class ExpectationPrinter(PythonCodePrinter):
    """Prints the functions of `runtime/expectations.py` by their names, and rationals as floating point numbers."""

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": True, "user_functions": {name: name for name in _called()}})

    def _print_Rational(self, expr: Expr) -> str:
        return _float_text(expr)

    def _print_Integer(self, expr: Expr) -> str:
        # Numba's integers have 64 bits.
        return str(expr) if abs(expr) < 2**63 else _float_text(expr)

    def _print_Pow(self, expr: Expr, rational: bool = False) -> str:
        # Numba's x**(-k) raises an exception at 0, whatever the error model of the function is.
        if expr.exp.is_Integer and expr.exp < -1:
            return f"(1.0/{self._print_Pow(expr.base**-expr.exp)})"
        return super()._print_Pow(expr, rational)

    def _print_sign(self, expr: Expr) -> str:
        return f"sign({self._print(expr.args[0])})"

    def _print_expm1(self, expr: Expr) -> str:
        return f"math.expm1({self._print(expr.args[0])})"

    def _print_complementary_erf(self, expr: Expr) -> str:
        return f"math.erfc({self._print(expr.args[0])})"

    def _print_over_erfc(self, expr: Expr) -> str:
        return f"over_erfc({', '.join(map(self._print, expr.args))})"

    def _print_log_erfc(self, expr: Expr) -> str:
        return f"log_erfc({self._print(expr.args[0])})"

    def _print_log(self, expr: Expr) -> str:
        more = expr.args[0] - 1  # of which 1 + more loses the digits
        return f"math.log1p({self._print(more)})" if log_of_one_more(expr) else super()._print_Function(expr)

    def _print_where_positive(self, expr: Expr) -> str:
        condition, value = expr.args
        return f"(({self._print(value)}) if {self._print(condition)} > 0.0 else 0.0)"

    def _print_by_interval(self, expr: Expr) -> str:
        x, text = self._print(expr.args[0]), ""
        for end, value, before in expr.cases:
            text += f"({self._print(before)}) if {x} < {self._print(end)} else "
            text += "" if value is None else f"({self._print(value)}) if {x} == {self._print(end)} else "
        return f"({text}({self._print(expr.args[-1])}))"

    def _print_Float(self, expr: Expr) -> str:
        return repr(float(expr))


def _float_text(number: Expr) -> str:
    """A number as a floating point literal, infinite if it is too large for one."""
    value = float(number)
    return repr(value) if isfinite(value) else f"{copysign(1.0, value):.0f}e999"


def printable(expr: Expr) -> bool:
    """Whether every function in the expression has a numeric form."""
    try:
        ExpectationPrinter().doprint(expr)
    except PrintMethodNotImplementedError:
        return False
    return True


def identifiers(arguments: tuple[Symbol, ...]) -> dict[Symbol, Symbol]:
    """A Python name for every argument, as symbols."""
    names: dict[Symbol, Symbol] = {}
    functions = own_names()
    for symbol in arguments:
        name = re.sub(r"\W", "_", symbol.name) or "_"
        # A user may call a parameter `lambda`, `x0` or `expectation`.
        taken = iskeyword(name) or _RESERVED.fullmatch(name) or name in functions
        name = f"a_{name}" if taken or not name.isidentifier() else name
        while Symbol(name, real=True) in names.values():
            name += "_"
        names[symbol] = Symbol(name, real=True)
    return names


def function_source(value: Expr, integrals: dict[Symbol, Integral], arguments: tuple[Symbol, ...],
                    instead: Instead | None = None, pairs: Sequence[Pair] = (),
                    wholes: Mapping[Symbol, Integral] | None = None) -> str:
    """The source of `def expectation(arguments)`, with its imports and its integrands.

    It returns `value`, in which each symbol of `integrals` stands for that integral; with integrals, the pair of
    `value` and its error, to first order in theirs. `instead` is for a value without integrals, which then has an error,
    too, as one has with `pairs` of variables, of which the covariance may be known too badly. `wholes` are what takes the place of
    integrals in which a mean over some of the variables loses digits.
    """
    names = identifiers(arguments) | {x: Symbol(x.name, real=True) for x in (*XI, *NATURAL)}
    printer = ExpectationPrinter()
    functions: list[str] = []
    lines: list[str] = []
    for number, (symbol, integral) in enumerate(integrals.items()):
        text = _Integral(integral, number, names, printer, (wholes or {}).get(symbol))
        lines += text.lines()
        functions += text.functions
        names[symbol] = Symbol(f"q{number}_", real=True)
    # Together, so that a closed form and the numbers that judge it share what they have in common.
    exact = [accurate(e).xreplace(names) for e in (value, *(instead.limits if instead else ()))]
    shared, (result, *limits) = sympy.cse(exact, symbols=sympy.numbered_symbols("c_", real=True))
    lines += [f"{s} = {printer.doprint(e)}" for s, e in shared]
    if instead:
        text = _Integral(instead.integral, 0, names, printer)
        sound = _sound(limits, len(instead.variances), printer)
        rounded = f"0.0 if abs(q0_) >= {EXACT!r} * m_ else {ROUNDED!r} * m_"
        lines += [f"q0_ = {printer.doprint(result)}", f"m_ = {printer.doprint(limits[0])}", f"if {sound}:",
                  f"    return float(q0_), {rounded}", *text.lines(),
                  "return q0_, e0_"]
        functions += text.functions
        return _joined(lines, functions, names, arguments, _pairs([instead.integral], arguments))
    # By how much the value moves with each integral.
    errors = [_error(value.diff(symbol).xreplace(names), number, printer) for number, symbol in enumerate(integrals)]
    returned = f"float({printer.doprint(result)})"
    if pairs:
        errors.append("0.0")
    lines.append(f"return {returned}, {' + '.join(errors)}" if errors else f"return {returned}")
    return _joined(lines, functions, names, arguments, [*_pairs(list(integrals.values()), arguments), *pairs])


def _sound(limits: list[Expr], variances: int, printer: ExpectationPrinter) -> str:
    """Whether a closed form q0_ has most of its digits, of terms of the size m_, the first of the limits; `variances` is how many
    there are among them."""
    others = list(map(printer.doprint, limits[1:]))
    signs = others[variances:]
    return " and ".join([
        f"abs(q0_) >= {CANCELLED!r} * m_", *(f"{v} <= {LARGE!r}" for v in others[:variances]),
        *(f"(({s}) >= {SINGULAR!r} * ({whole}) or abs({total}) > {CERTAIN!r} * ({s}) + {UNCERTAIN!r} * ({whole}))"
          for total, whole, s in zip(signs[::3], signs[1::3], signs[2::3]))])


def _pairs(integrals: list[Integral], arguments: tuple[Symbol, ...]) -> list[Pair]:
    """The pair of the first integral over two variables, if its covariances are arguments."""
    for integral in integrals:
        if integral.dimension == 2:
            (one, joint), (_, two) = integral.covariance
            return [(one, joint, two)] if {one, joint, two} <= set(arguments) else []
    return []


def _joined(lines: list[str], functions: list[str], names: dict[Symbol, Symbol], arguments: tuple[Symbol, ...],
            pairs: Sequence[Pair]) -> str:
    """The module's text. With `pairs`, whose variables may be nearly equal, the error has that of their covariances in it."""
    given = [names[a].name for a in arguments]
    blocks = [*functions]
    if pairs:
        inner = f"expectation_{INNER}"
        blocks.append('@njit(error_model="numpy")\n' + _function_text(inner, given, lines))
        lines = [f"q_, e_ = {inner}({', '.join(given)})",
                 *(line for pair in pairs for line in _uncertainty(inner, given, [str(e.xreplace(names)) for e in pair])),
                 "return q_, e_"]
    body = "\n\n\n".join([*blocks, _function_text("expectation", given, lines)])
    return _imports(body) + "\n\n" + body + "\n"


def _uncertainty(inner: str, given: list[str], pair: list[str]) -> list[str]:
    """Statements that add to the error what the last digits of a covariance change."""
    one, joint, two = pair
    # A covariance that is a number is exact, but a variance beside it is not.
    steep = next(e for e in (joint, one, two) if e in given)
    moved = ", ".join(f"{MOVED!r} * {name}" if name == steep else name for name in given)
    return [f"if {joint} * {joint} >= {NEAR!r} * {one} * {two} and not {joint} == {one} == {two}:",
            f"    m_ = 2.0 * abs({inner}({moved})[0] - q_)",
            f"    if m_ > {SEEN!r} * abs(q_):",
            "        e_ += m_"]


def _function_text(name: str, arguments: list[str], lines: list[str]) -> str:
    return "\n".join([f"def {name}({', '.join(arguments)}):", *("    " + line for line in lines)])


def _error(slope: Expr, number: int, printer: ExpectationPrinter) -> str:
    return f"e{number}_" if slope == 1 else f"abs({printer.doprint(slope)}) * e{number}_"


def _imports(body: str) -> str:
    names = (*_called(), *NUMERIC)
    called = sorted(name for name in names if re.search(rf"\b{name}\(", body))
    lines = [f"import {module}\n" for module in ("math", "numpy") if f"{module}." in body]
    if "@njit" in body:
        lines.append("from tensorprog.runtime.compiling import njit\n")
    if called:
        lines.append(f"from tensorprog.runtime.expectations import {', '.join(called)}\n")
    lines += [f"from {module} import {name}\n" for name, module in DRIVERS.items() if f"{name}(" in body]
    return "".join(lines)


class _Integral:
    """The statements that compute an integral, q and its error e, and the functions that they need."""

    def __init__(self, integral: Integral, number: int, names: dict[Symbol, Symbol], printer: ExpectationPrinter,
                 whole: Integral | None = None) -> None:
        self.integral, self.number, self.names, self.printer, self.whole = integral, number, names, printer, whole
        self.functions: list[str] = []

    def lines(self) -> list[str]:
        """The statements."""
        # The adaptive rule copes with kinks in three dimensions; without them a fixed grid converges geometrically, and
        # is cheaper.
        if self.integral.singular and self.integral.kinks:
            return self._by_rays()
        return self._adaptive() if self.integral.dimension < 3 or self.integral.kinks else self._smooth_in_space()

    def _text(self, expr: Expr) -> str:
        return self.printer.doprint(expr.xreplace(self.names))

    # --- adaptive ---

    def _adaptive(self) -> list[str]:
        variables = frozenset((*XI, *NATURAL))
        integrand = in_intervals(self.integral.integrand, variables)
        # (In three dimensions a second integral would take too long.)
        sizes, k = rounding(_less_one(integrand), variables) if self.integral.dimension < 3 else S.Zero, self.number
        lines = [*self._geometry(), *self._called(integrand, k)]
        if sizes == 0:
            return lines
        # Far out, where quotients of vanishing functions are kept in range as they stand, their sizes may have no value.
        lines += [*self._called(sizes, k + SIZES), f"e{k}_ += {ROUNDED!r} * q{k + SIZES}_ if q{k + SIZES}_ <= {HUGE!r} else 0.0"]
        if self.whole is not None:
            other = _Integral(self.whole, k + WHOLE, self.names, self.printer)
            lines += [f"if abs(q{k}_) < {CANCELLED!r} * q{k + SIZES}_:", *("    " + line for line in other.lines()),
                      f"    if e{k + WHOLE}_ < e{k}_:", f"        q{k}_, e{k}_ = q{k + WHOLE}_, e{k + WHOLE}_"]
            self.functions += other.functions
        return lines

    def _geometry(self) -> list[str]:
        """The covariance and the planes."""
        k, size, planes = self.number, self.integral.dimension, self.integral.features
        entries = [(i, j, e) for i, row in enumerate(self.integral.covariance) for j, e in enumerate(row)]
        return [
            *self._array(f"k{k}_", [(f"{i}, {j}", e) for i, j, e in entries], f"({size}, {size})"),
            *self._array(f"f{k}_", [(f"{i}, {j}", e) for i, (form, width) in enumerate(planes)
                                    for j, e in enumerate(_plane_row(form, width, size))], f"({len(planes)}, {2 * size + 2})")]

    def _called(self, integrand: Expr, number: int) -> list[str]:
        """The integral of an integrand that has the planes of this one, as q and e of that number."""
        written = _kept_in_range(_less_one(_masked(integrand)))
        constants, integrand = _hoisted(written, frozenset((*XI, *NATURAL)), f"n{number}_")
        self.functions.append(self._function(list(constants), integrand, number))
        return [
            *self._array(f"v{number}_", [(f"{i}", e) for i, e in enumerate(constants.values())], f"{len(constants)}"),
            f"q{number}_, e{number}_ = gaussian_expectation(address_of(expectation_{number}), k{self.number}_, f{self.number}_, "
            f"v{number}_, {self.integral.free})"]

    def _array(self, name: str, entries: list[tuple[str, Expr]], shape: str) -> list[str]:
        return [f"{name} = numpy.zeros({shape})",
                *(f"{name}[{at}] = {self._text(e)}" for at, e in entries if e != 0)]

    def _function(self, constants: list[Symbol], integrand: Expr, number: int) -> str:
        """The integrand as a function of what `gaussian_expectation` hands it."""
        size, own = self.integral.dimension, {}
        for at, symbol in enumerate((*constants, *NATURAL[:size], *XI[:size])):
            own[symbol] = f"z[{at}]"
        inner = self.names | {s: s for s in constants}
        shared, (result,) = sympy.cse([integrand.xreplace(inner)], symbols=sympy.numbered_symbols(f"s{number}_"))
        used = set().union(result.free_symbols, *(e.free_symbols for _, e in shared))
        lines = [f"{inner[s]} = {text}" for s, text in own.items() if inner[s] in used]
        lines += [f"{s} = {self.printer.doprint(e)}" for s, e in shared]
        lines.append(f"return {self.printer.doprint(result)}")
        head = f'@njit(error_model="numpy")\ndef expectation_{number}(_, z):'
        return "\n".join([head, *("    " + line for line in lines)])

    # --- fixed rules ---

    def _by_rays(self) -> list[str]:
        """Over directions and radii, for functions that are singular at the origin."""
        planes, size = self.integral.kinks, self.integral.dimension
        rows = [[*map(dict(plane.linear).get, XI[:size], repeat(S.Zero)), plane.constant] for plane in planes]
        filled = [(f"{i}, {j}", e) for i, row in enumerate(rows) for j, e in enumerate(row)]
        return [*self._array("planes", filled, f"({len(planes)}, {size + 1})"), *self._loop("kink_points(planes, level)")]

    def _smooth_in_space(self) -> list[str]:
        """By the trapezoidal rule, and where that is too coarse adaptively."""
        k, better = self.number, self._adaptive()
        switched = [line.replace(f"q{k}_, e{k}_ =", f"r{k}_ =") for line in better]
        return [*self._loop("trapezoid_points(level)"), f"if not e{k}_ <= {10 * TOLERANCE!r} * size:",
                *("    " + line for line in switched), f"    if r{k}_[1] < e{k}_:", f"        q{k}_, e{k}_ = r{k}_"]

    def _loop(self, rule: str) -> list[str]:
        k, size = self.number, self.integral.dimension
        constants, integrand = _hoisted(self.integral.standardized, frozenset(XI), f"n{k}_")
        inner = self.names | {s: s for s in constants}
        shared, (result,) = sympy.cse([integrand.xreplace(inner)], symbols=sympy.numbered_symbols(f"s{k}_"))
        inside = [f"{self.names[x]} = points[p, {j}]" for j, x in enumerate(XI[:size])]
        inside += [f"{s} = {self.printer.doprint(e)}" for s, e in shared]
        return [
            *(f"{s} = {self._text(e)}" for s, e in constants.items()),
            f"q{k}_, e{k}_, before, size = 0.0, 0.0, 0.0, 0.0",
            f"for level in range({LEVELS[size]}):",
            f"    points, weights = {rule}",
            "    total, size = 0.0, 0.0",
            "    for p in range(weights.size):",
            *("        " + line for line in inside),
            f"        y = weights[p] * ({self.printer.doprint(result)})",
            "        total += y",
            "        size += abs(y)",
            f"    difference, q{k}_ = abs(total - q{k}_), total",
            f"    e{k}_ = refinement_error(difference, before, size)",
            "    before = difference if level > 0 else 0.0",
            f"    if level > 0 and e{k}_ <= {TOLERANCE!r} * size:",
            "        break",
        ]


def _plane_row(form: Affine, width: Expr, size: int) -> list[Expr]:
    coefficients = dict(form.linear)
    return [*(coefficients.get(u, S.Zero) for u in NATURAL[:size]), *(coefficients.get(x, S.Zero) for x in XI[:size]),
            form.constant, width]


def _hoisted(expr: Expr, variables: frozenset[Symbol], prefix: str) -> tuple[dict[Symbol, Expr], Expr]:
    """Names for the largest parts that no variable is in, with their values, and the expression with them."""
    found: dict[Expr, Symbol] = {}

    def name(part: Expr) -> Expr:
        if part.is_number:
            return part
        return found.setdefault(part, Symbol(f"{prefix}{len(found)}", real=True))

    def visit(part: Expr) -> Expr:
        if not part.free_symbols & variables:
            return name(part)
        if not part.args:
            return part
        if isinstance(part, sympy.Add | Mul):
            fixed = [a for a in part.args if not a.free_symbols & variables]
            rest = [visit(a) for a in part.args if a.free_symbols & variables]
            return part.func(*([name(part.func(*fixed))] if fixed else []), *rest)
        return part.func(*map(visit, part.args))

    hoisted = visit(expr)
    return {symbol: value for value, symbol in found.items()}, hoisted


def _masked(expr: Expr) -> Expr:
    """The expression with products with steps written as cases: a step that is 0 wins over infinity."""
    if not expr.args:
        return expr
    args = [_masked(a) for a in expr.args]
    if isinstance(expr, Mul):
        # relu(x)**(-1/2) step(x) is inf * 0 for x < 0, which is NaN.
        steps = [a for a in args if isinstance(a, step)]
        value = Mul(*(a for a in args if a not in steps))
        for jump in steps:
            value = where_positive(jump.args[0], value)
        return value
    return expr.func(*args)


def _less_one(expr: Expr) -> Expr:
    """The expression with c f - c written so that it is accurate near 0 (see `less_one`)."""
    if not expr.args:
        return expr
    args = [_less_one(a) for a in expr.args]
    if isinstance(expr, sympy.Add):
        number, rest = args[0], args[1:]
        for k, term in enumerate(rest if number.is_number else ()):
            found = less_one(term / -number) or _less_one_of_erf(term / -number)
            if found is not None:
                return sympy.Add(*rest[:k], *rest[k + 1:]) - number * found
    return expr.func(*args)


def _less_one_of_erf(function: Expr) -> Expr | None:
    """erf(x) - 1 and -erf(x) - 1 by erfc, which does not vanish before the Gaussian function does."""
    for sign in (1, -1):
        if isinstance(sign * function, sympy.erf):
            return -complementary_erf(sign * (sign * function).args[0])
    return None


def less_one(function: Expr) -> Expr | None:
    """exp(x) - 1, cos(x) - 1 or sqrt(1 + x) - 1 in a form that keeps the digits of a small x; None for other functions."""
    if isinstance(function, sympy.exp):
        return expm1(function.args[0])
    if isinstance(function, sympy.cos):
        # cos(x) - 1.
        return -2 * sympy.sin(function.args[0] / 2)**2
    if isinstance(function, sympy.Pow) and function.exp == S.Half and function.base.is_Add and function.base.args[0] == 1:
        # sqrt(1 + x) - 1 = x / (1 + sqrt(1 + x)).
        return (function.base - 1) / (1 + function)
    return None


def _kept_in_range(expr: Expr) -> Expr:
    """The expression with exponential functions over powers of erfc as `over_erfc`, as in the density of a normal variable over
    its distribution function."""
    if not expr.has(complementary_erf):
        return expr
    return _factored(expr).replace(lambda e: isinstance(e, Mul), _over_erfc)


def _factored(expr: Expr) -> Expr:
    """The expression with what the terms of a denominator have in common as factors: 1/(a e + b e) is 1/(e (a + b))."""
    return expr.replace(lambda e: e.is_Pow and e.exp.is_negative and e.base.is_Add, lambda e: sympy.factor_terms(e.base)**e.exp)


def _over_erfc(product: Expr) -> Expr:
    powers = [(factor, *factor.as_base_exp()) for factor in product.args]
    below = [(base.args[0], -k) for _, base, k in powers if isinstance(base, complementary_erf) and k.is_negative]
    if not below:
        return product
    exponents = [factor for factor in product.args if isinstance(factor, sympy.exp)]
    others = [factor for factor, base, k in powers
              if factor not in exponents and not (isinstance(base, complementary_erf) and k.is_negative)]
    (x, k), *more = below
    exponent = sympy.Add(*(e.args[0] for e in exponents), *(-power * log_erfc(argument) for argument, power in more))
    return Mul(*others, over_erfc(exponent, x, k))
