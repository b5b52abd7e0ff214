"""The first token of a line that does not fit the grammar becomes a TP1xx diagnostic: `explain`."""

from __future__ import annotations

from dataclasses import dataclass

from lark import Token

from tensorprog.diagnostics import Diagnostic
from tensorprog.diagnostics.foreign import PLAIN_LOOP, UPDATE, instead_of_function
from tensorprog.syntax.lines import track_bracket
from tensorprog.syntax.problems import foreign_statement
from tensorprog.syntax.tokens import CLOSERS, KEYWORDS, SIGNS, end_of, token_span


@dataclass(frozen=True, slots=True)
class Failure:
    """The token `tokens[index]` of a line does not fit; the kinds in `expected` would."""

    tokens: list[Token]
    index: int
    expected: frozenset[str]

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def first(self) -> Token:
        return self.tokens[0]

    @property
    def previous(self) -> Token | None:
        return self.tokens[self.index - 1] if self.index else None

    @property
    def next(self) -> Token | None:
        return self.tokens[self.index + 1] if self.index + 1 < len(self.tokens) else None

    @property
    def bracket(self) -> Token | None:
        """The innermost bracket that is open before the token."""
        opened: list[Token] = []
        for token in self.tokens[:self.index]:
            track_bracket(opened, token)
        return opened[-1] if opened else None

    def after(self, *kinds: str) -> bool:
        return self.previous is not None and self.previous.type in kinds

    def error(self, code: str, message: str, help: str, at: Token | None = None) -> Diagnostic:
        token = at or self.token
        span = end_of(self.tokens[-2]) if token.type == "NEWLINE" else token_span(token)
        return Diagnostic(code, message, span, help=help)


def explain(failure: Failure) -> Diagnostic:
    foreign = foreign_statement(failure.tokens)
    if foreign:
        return foreign
    # In the order of the list, from the particular to the general; the last one explains anything.
    return next(problem for rule in _EXPLANATIONS if (problem := rule(failure)))


def _else_without_if(f: Failure) -> Diagnostic | None:
    if f.index == 0 and f.token.type in ("ELSE", "ELIF"):
        return f.error("TP100", f"`{f.token}` without an `if` before it",
                       "indent it like the `if` that it belongs to, with nothing between their blocks")
    if f.token.type == "IF" and f.after("ELSE") and f.index == 1:
        return f.error("TP108", "`else if` is written `elif`", "write `elif condition:`")
    return None


def _loop_over_range(f: Failure) -> Diagnostic | None:
    # The parser's state tells what stands here: after `for a in` nothing but `range` is taken.
    if f.expected == {"RANGE"}:
        variable = f.tokens[f.index - 2]
        return f.error("TP110", "a loop runs over a `range` only",
                       f"write `for {variable} in range(T)`, and index with `{variable}` inside")
    if f.expected == {"IN"} and f.token.type == "COMMA":
        pairs = any(token in ("zip", "enumerate") for token in f.tokens[f.index:])
        return f.error("TP110", "a loop has one variable", PLAIN_LOOP if pairs else "write one `for` for each variable")
    return None


def _equality(f: Failure) -> Diagnostic | None:
    if f.token.type != "EQUAL":
        return None
    if f.first.type == "DEF" and f.bracket:
        return f.error("TP100", "a parameter cannot have a default", "pass the value in every call")
    # f(x, width=3).
    if f.after("NAME") and f.bracket and f.tokens[f.index - 2].type in ("LPAR", "COMMA", "SEMICOLON"):
        return f.error("TP100", "arguments are given by position, not by name",
                       f"remove `{f.previous} =`")
    if f.first.type in ("IF", "ELIF") or f.bracket:
        return f.error("TP105", "`=` assigns, it does not compare", "write `==` to compare")
    # a = b = c.
    if "NEWLINE" in f.expected and f.first.type != "DEF":
        return f.error("TP100", "only one assignment can stand on a line", "write each assignment on a line of its own")
    return None


NAME_LIKE = frozenset("WIDTH SIZE PARAM INPUT MATRIX VECTOR RANGE INT REAL OUTPUT AS PASS DEF IN RETURN".split())
NAMING = ("WIDTH", "SIZE", "PARAM", "INPUT", "MATRIX", "VECTOR", "FOR", "DEF", "AS", "DOT")


def _reserved_word(f: Failure) -> Diagnostic | None:
    reserved = None
    if "NAME" in f.expected and f.token in KEYWORDS and (f.token.type in NAME_LIKE or f.after(*NAMING)):
        reserved = f.token
    # `size = 3` reads as a declaration up to the `=`, which is what does not fit.
    elif f.index == 1 and f.first.type in NAME_LIKE and f.token.type in ("EQUAL", "AUGMENTED", "LSQB"):
        reserved = f.first
    if reserved is None:
        return None
    return f.error("TP107", f"`{reserved}` is a reserved word and cannot be a name",
                   f"write another name, such as `{reserved}_`", at=reserved)


DECLARATION_HELP = {
    "INPUT": "write `input X : [P, d]`",
    "MATRIX": "write `matrix W : [n, n] ~ normal(0, 1/n)`, or `matrix W : [n, n] = 0`",
    "VECTOR": "write `vector v : [n] ~ normal(0, 1)`, or `vector v : [n] = 0`",
    "PARAM": "write `param eta = 0.1` or `param T : int = 20`",
    "SIZE": "write `size P, d` or `size K = 10`",
    "WIDTH": "write `width n` or `width m = 2*n`, each width on a line of its own",
    "OUTPUT": "write `output f, loss` or `output expression as name`",
    "DEF": "write `def f(x, y):`, or `def f(x) = expression`",
    "RETURN": "write `return value`",
}
HEADER_HELP = {
    **dict.fromkeys(("IF", "ELIF", "FOR"), "write `:` at the end of the line"),
    "ELSE": "write `else:`, or `elif condition:`",
    "DEF": "write `:` and a block, or `= expression`, after the parameters",
}


def _missing_colon(f: Failure) -> Diagnostic | None:
    if "COLON" not in f.expected or f.bracket or f.previous is None:
        return None
    ends = f.token.type == "NEWLINE" or f.token in ("then", "do") or f.expected <= {"COLON", "EQUAL"}
    if f.first.type in HEADER_HELP and ends:
        return Diagnostic("TP104", f"`:` is missing after the `{f.first}`", end_of(f.previous),
                          help=HEADER_HELP[f.first.type])
    if f.first.type in ("INPUT", "MATRIX", "VECTOR", "PARAM") and f.token.type in ("LSQB", "TILDE", "INT", "REAL"):
        # `matrix W [n, n] ~ ...` reads as a family until the `~`.
        apart = f.token.type == "TILDE" and f.after("RSQB") and token_span(f.tokens[1]).end_column < token_span(f.tokens[2]).column
        if f.token.type == "TILDE" and not apart:
            return f.error("TP104", f"the shape of the {f.first} is missing before the `~`",
                           DECLARATION_HELP[f.first.type])
        where = "between the name and the shape" if apart else "after the name"
        return Diagnostic("TP104", f"`:` is missing {where} of the {f.first}", end_of(f.previous),
                          help=DECLARATION_HELP[f.first.type])
    return None


def _statement_separator(f: Failure) -> Diagnostic | None:
    if f.token.type != "SEMICOLON":
        return None
    if f.bracket:
        return f.error("TP100", "`;` cannot stand here", "write `,`; a `;` stands once, as in `ntk(f, g; U, W)`")
    return f.error("TP100", "`;` does not separate statements", "write each statement on a line of its own")


def _unfinished(f: Failure) -> Diagnostic | None:
    if f.token.type != "NEWLINE":
        return None
    help = DECLARATION_HELP.get(f.first.type) or _wanted(f.expected)
    return f.error("TP100", f"the line ends too early after `{f.previous}`", help)


def _random_without_declaration(f: Failure) -> Diagnostic | None:
    if f.token.type != "TILDE" or f.first.type in DECLARATION_HELP:
        return None
    return f.error("TP100", "`~` stands in declarations only",
                   f"write `vector {f.first} : [n] ~ normal(0, 1)`, or `matrix {f.first} : [n, n] ~ normal(0, 1/n)`")


def _annotation(f: Failure) -> Diagnostic | None:
    if f.token.type != "COLON" or f.index != 1 or f.first.type != "NAME":
        return None
    return f.error("TP100", "a name has no declared type",
                   f"write `{f.first} = value`; declarations begin with `param`, `input`, `matrix` or `vector`")


def _slice_step(f: Failure) -> Diagnostic | None:
    if f.token.type != "COLON" or f.bracket is None or f.bracket.type != "LSQB":
        return None
    return f.error("TP100", "a slice has no step", "write `X[a:b]`")


def _tuple_inside(f: Failure) -> Diagnostic | None:
    # Where a name may follow, the comma itself stands in a wrong place, and this is no tuple.
    if f.token.type != "COMMA" or f.bracket is None or f.bracket.type != "LPAR" or "NAME" in f.expected:
        return None
    return f.error("TP100", "a tuple cannot be part of an expression",
                   "assign or return the values as `a, b`, without nesting")


def _list_display(f: Failure) -> Diagnostic | None:
    if f.token.type != "LSQB" or "NAME" not in f.expected:
        return None
    return f.error("TP100", "there are no lists", "assign the elements of a family, as in `f[a] = ...`")


def _method_call(f: Failure) -> Diagnostic | None:
    if f.token.type != "LPAR" or f.previous is None or not f.after("NAME", "RPAR", "RSQB", "NUMBER"):
        return None
    if f.index > 1 and f.tokens[f.index - 2].type == "DOT":
        return f.error("TP100", "there are no modules or methods", _method_help(f, f.previous), at=f.previous)
    return f.error("TP100", "only a name can be called", "write `f(x)`, or `*` for a product")


def _method_help(f: Failure, name: Token) -> str:
    """What to write instead of `torch.tanh(h)`, `h.std()`, `nn.ReLU()(h)`, `optimizer.step()`."""
    owner = f.tokens[f.index - 3] if f.index > 2 else None
    if name == "step" and owner in ("opt", "optim", "optimizer", "optimiser", "scheduler", "solver"):
        return UPDATE
    of_value = f.next is not None and f.next.type == "RPAR" and owner is not None and owner.type == "NAME"
    argument = "h" if name[0].isupper() else owner if of_value else "..."  # nn.ReLU()(h), h.std(), torch.std(h)
    return instead_of_function(name) or f"write `{name.lower()}({argument})`"


def _prime_without_call(f: Failure) -> Diagnostic | None:
    if not f.after("PRIMED") and not (f.token.type == "PRIMED" and "NAME" in f.expected):
        return None
    primed = f.previous if f.after("PRIMED") else f.token
    return f.error("TP100", f"the derivative `{primed}` must be applied to an argument",
                   f"write `{primed}(h)`", at=primed)


OPERATORS = frozenset("PLUS STAR AT".split())
OPERAND_STARTS = frozenset("NAME PRIMED NUMBER LPAR".split())


def _missing_operator(f: Failure) -> Diagnostic | None:
    if f.token.type not in OPERAND_STARTS or not OPERATORS <= f.expected:
        return None
    if f.token == "is":
        return f.error("TP100", "there is no `is`", "write `==`")
    if f.previous == "lambda":
        return f.error("TP108", "there is no `lambda`", "write `def phi(u) = ...` above", at=f.previous)
    return f.error("TP100", f"an operator is missing between `{f.previous}` and `{f.token}`",
                   f"write `{f.previous} * {f.token}` for a product, `@` for one with a matrix")


def _anything_else(f: Failure) -> Diagnostic:
    if f.first.type == "DEF" and f.token.type == "COMMA" and not f.bracket:
        return f.error("TP100", "a function of one line has one value", "write a block that ends with `return a, b`")
    help = DECLARATION_HELP.get(f.first.type) if not f.bracket else None
    return f.error("TP100", f"unexpected `{f.token}`", help or _wanted(f.expected))


TERMINAL_TEXT = {"AUGMENTED": "+=", "COLON": ":", "COMMA": ",", "EQUAL": "=", "TILDE": "~", "SEMICOLON": ";", **SIGNS}


def _wanted(expected: frozenset[str]) -> str:
    """What to write where a token does not fit, from the kinds that would."""
    if {"NAME", "NUMBER"} <= expected:
        return "write a value here: a name, a number or an expression"
    if "NAME" in expected:
        return "write a name here"
    if OPERATORS <= expected and len(expected) > 3:
        closers = sorted(TERMINAL_TEXT[k] for k in expected if k in CLOSERS.values())
        return "write an operator here" + "".join(f", or `{c}`" for c in closers) + ", or remove it"
    words = sorted(TERMINAL_TEXT.get(kind, kind.lower()) for kind in expected if kind != "NEWLINE")
    return "write " + " or ".join(f"`{word}`" for word in words) + " here" if words else "end the line here"


_EXPLANATIONS = (
    _else_without_if, _loop_over_range, _equality, _reserved_word, _missing_colon, _statement_separator,
    _prime_without_call, _random_without_declaration, _annotation, _unfinished, _slice_step, _tuple_inside,
    _list_display, _method_call, _missing_operator, _anything_else,
)
