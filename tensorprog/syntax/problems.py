"""Problems that show without the grammar: tokens and statements foreign to the language, lines nested too deeply."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lark import Token

from tensorprog.diagnostics import Diagnostic, Span
from tensorprog.diagnostics.foreign import PRODUCTS
from tensorprog.syntax.tokens import CLOSERS, DIGITS, FLOAT, INTEGER, KEYWORDS, spelled, token_span

# Far below Python's limit of recursion, of which a level of the tree takes several frames in the checker.
MAX_DEPTH = 100
# Integers have no largest one in Python; floats end at 1.8e308.
MAX_DIGITS = 300

WRITE_INSTEAD = {
    "**=": "write `x = x**y`", "//=": "write `x = x // y`", "%=": "write `x = x % y`", "@=": "write `x = W @ x`",
    "&=": "write `x = x and y`", "|=": "write `x = x or y`", "^=": "write `x = x**y`",
    ":=": "write the assignment `name = value` on a line of its own", "->": "a function has no declared result, "
    "remove it", "&&": "write `and`", "||": "write `or`", "<>": "write `!=`", "!": "write `not`, or `!=`",
    "&": "write `and`", "|": "write `or`; the absolute value is `abs(x)`", "^": "write `**` for a power",
    "{": "blocks are made by `:` and indentation, indices by `[` and `]`", "}": "blocks are made by `:` and "
    "indentation, indices by `[` and `]`", "\\": "put the expression in parentheses to continue it on the next line",
    "'": "a prime stands directly after the name of a function, as in `tanh'(h)`", "\u2019": "write the prime as `'`",
    "\u2032": "write the prime as `'`", "\u2212": "write `-`", "\u2013": "write `-`", "\u2014": "write `-`",
    "\u00d7": "write `*`", "\u00b7": "write `*`", "\u22c5": "write `*`", "\u2217": "write `*`", "\u00f7": "write `/`",
    "\u2264": "write `<=`", "\u2265": "write `>=`", "\u2260": "write `!=`", "\u2208": "write `in`",
    "\u223c": "write `~`", "\u2211": "write `sum(... for a in range(P))`", "\u221a": "write `sqrt(x)`",
    "\u2202": "write `grad(s, v)`", "\u2207": "write `grad(s, v)`", "\u1d40": "write `W.T`", "\u22a4": "write `W.T`",
    "\u201c": "remove it, there are no strings", "\u201d": "remove it, there are no strings",
    "\u2297": "write `outer(u, v)`", "\u00a0": "replace the no-break space by a space",
}


def bad_token(tokens: Sequence[Token]) -> Diagnostic | None:
    return next((problem for i, token in enumerate(tokens)
                 if (problem := _subscripts(tokens, i) or _quoted(token, lambda: tokens[i + 1:])
                     or _token_problem(token))), None)


def _subscripts(tokens: Sequence[Token], i: int) -> Diagnostic | None:
    """The string of an `einsum`."""
    if i < 2 or tokens[i].type not in ("STRING", "FOREIGN") or tokens[i - 2] != "einsum":
        return None
    return Diagnostic("TP103", "there is no `einsum`", token_span(tokens[i - 2]), help=PRODUCTS)


def _quoted(token: Token, rest: Callable[[], Sequence[Token]]) -> Diagnostic | None:
    """A string in single quotes, which are primes to the lexer."""
    if token != "'":
        return None
    # A prime at the end of a later token of the row, which the lexer takes for one of a function.
    end = next((t for t in rest() if t.endswith("'")), None)
    if end is None or end.line != token.line:
        return None
    return Diagnostic("TP103", "there are no strings in the language", token_span(token).to(token_span(end)),
                      help="remove it, or make it a comment with `#`")


def _token_problem(token: Token) -> Diagnostic | None:
    match token.type:
        case "FOREIGN" | "FOREIGN_OPERATOR":
            return Diagnostic("TP103", f"{_shown(token)} is not part of the language", token_span(token),
                              help=WRITE_INSTEAD.get(token, "remove it"))
        case "STRING":
            return Diagnostic("TP103", "there are no strings in the language", token_span(token),
                              help="remove it, or make it a comment with `#`")
        case "NUMBER":
            return _number_problem(token)
        case "NAME" | "PRIMED":
            return _name_problem(token)
    return None


def _shown(text: str) -> str:
    return f"`{text}`" if text.isprintable() else f"the character U+{ord(text[0]):04X}"


def _number_problem(token: Token) -> Diagnostic | None:
    if INTEGER.fullmatch(token):
        too_large = len(token) > MAX_DIGITS
    elif FLOAT.fullmatch(token):
        too_large = float(token) == float("inf")
    else:
        return Diagnostic("TP106", f"`{_shortened(token)}` is not a number", token_span(token),
                          help=_number_help(token))
    if not too_large:
        return None
    return Diagnostic("TP106", f"the number `{_shortened(token)}` is too large", token_span(token),
                      help="write a number below 1e308")


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:20] + "..."


def _number_help(text: str) -> str:
    product = re.fullmatch(rf"({DIGITS}(?:\.(?:{DIGITS})?)?|\.{DIGITS})([^\W\d]\w*)", text)
    if re.fullmatch(r"0[0-9]+", text):
        return f"write `{text.lstrip('0')}`"
    if re.match(r"0[xXbBoO]", text) or re.fullmatch(r"[0-9._]+[eE]", text) or product is None:
        return "write numbers as `12`, `0.5` or `1e-3`"
    return f"write `{product[1]}*{product[2]}` for a product"


def _name_problem(token: Token) -> Diagnostic | None:
    name = spelled(token)
    if name in KEYWORDS:
        return Diagnostic("TP107", f"`{name}` is a reserved word", token_span(token), help=f"write `{name}_`, say")
    # By characters: a name as a whole may be none because of a single superscript, which is then shown.
    bad = next((i for i in range(len(token)) if not ("a" + token[i]).isidentifier() and token[i] != "'"), None)
    if bad is None and name.isidentifier():
        return None
    at = bad or 0
    place = token_span(token)
    span = Span(place.line, place.column + at, place.line, place.column + at + 1)
    power = unicodedata.normalize("NFKC", token[at])
    help = f"write `**{power}` for a power" if power.isdecimal() else "write names with letters, digits and `_`"
    return Diagnostic("TP103", f"{_shown(token[at])} cannot be part of a name", span, help=help)


# --- foreign statements --------------------------------------------------------------------------------------


FOREIGN_STATEMENTS = {
    **dict.fromkeys(("while", "do", "repeat", "until", "loop"), "write `for t in range(T):`, loops run over a range"),
    **dict.fromkeys(("break", "continue"), "write an `if` around the statements, or a shorter `range`"),
    **dict.fromkeys(("import", "from", "using", "include"), "remove it, the functions are there without imports"),
    **dict.fromkeys(("let", "var", "const", "auto", "local"), "write `name = value`"),
    **dict.fromkeys(("float", "double", "scalar", "array"), "write `name = value`, names have no declared type"),
    **dict.fromkeys(("function", "func", "fn", "fun"), "write `def f(x):`"),
    **dict.fromkeys(("switch", "match", "case"), "write `if`, `elif` and `else`"),
    **dict.fromkeys(("print", "yield", "show", "display", "plot"), "write `output f` for a result"),
    **dict.fromkeys(("class", "struct", "type"), "write a `def` for each function"),
    **dict.fromkeys(("try", "except", "finally", "with", "raise", "assert", "global", "nonlocal", "del", "async",
                     "await", "end"), "remove it"),
    "elseif": "write `elif`", "elsif": "write `elif`", "lambda": "write `def phi(u) = ...`",
    "given": "write `input X : [P, d]`",
}


def foreign_statement(tokens: Sequence[Token]) -> Diagnostic | None:
    """A statement of another language, recognised by its first word."""
    word = tokens[0]
    if word.type != "NAME" or word not in FOREIGN_STATEMENTS:
        return None
    # `match = 3` is an assignment: such words may be names.
    if tokens[1].type in ("EQUAL", "AUGMENTED", "LSQB", "COMMA", "DOT"):
        return None
    return Diagnostic("TP108", f"there is no `{word}` statement", token_span(word), help=FOREIGN_STATEMENTS[word])


# --- depth ---------------------------------------------------------------------------------------------------


ADDING = frozenset("PLUS MINUS NOT IF".split())
MULTIPLYING = frozenset("STAR SLASH DOUBLESLASH PERCENT AT DOUBLESTAR DOT LSQB LPAR".split())
SEPARATING = frozenset("COMMA COLON SEMICOLON FOR AND OR COMPARISON EQUAL AUGMENTED".split())


@dataclass(slots=True)
class _Depth:
    """A bound on the depth of the tree between two brackets: sums outside, products and what they hold inside."""

    sums: int = 0
    products: int = 0
    deepest_product: int = 0
    deepest: int = 0

    def bound(self) -> int:
        return max(self.deepest, self.sums + self.deepest_product)

    def take(self, kind: str, inner: int = 0) -> None:
        if kind in ADDING:
            # a + b + c is a tree as deep as it has signs; products are inside of sums, and begin anew.
            self.sums, self.products = self.sums + 1, 0
        elif kind in MULTIPLYING:
            self.products += 1
            self.deepest_product = max(self.deepest_product, self.products + inner)
        elif kind in SEPARATING:
            self.deepest = self.bound()
            self.sums = self.products = self.deepest_product = 0


def too_deep(tokens: Sequence[Token]) -> Diagnostic | None:
    """A bound on the depth of every tree, so that the recursive stages that follow are safe."""
    if len(tokens) <= MAX_DEPTH:
        return None
    stack, total = [_Depth()], 0
    for token in tokens:
        if token.type in CLOSERS:
            stack.append(_Depth())
        elif token.type in CLOSERS.values() and len(stack) > 1:
            inner = stack.pop().bound()
            stack[-1].take("LPAR", inner)
        else:
            stack[-1].take(token.type)
        total = len(stack) + stack[-1].bound()
        if total > MAX_DEPTH:
            return Diagnostic("TP109", "this expression is nested too deeply, or too long", token_span(token),
                              help=f"assign a part of it to a name on a line of its own: a line has at most {MAX_DEPTH} "
                              "operations in one another, or in a row")
    return None
