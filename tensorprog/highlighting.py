"""A Pygments lexer for `.tp` programs, which Sphinx, Jupyter's nbconvert and terminals use (an entry point)."""

from __future__ import annotations

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, Text, Whitespace

DECLARATIONS = ("width", "size", "param", "input", "matrix", "vector")
CONTROL = ("for", "in", "if", "elif", "else", "def", "return", "output", "as", "pass")
LOGIC = ("and", "or", "not")
TYPES = ("int", "real")
NONLINEARITIES = ("relu", "abs", "sign", "step", "tanh", "erf", "sigmoid", "gelu", "silu", "softplus", "exp", "log", "sqrt", "sin",
                  "cos", "square", "max", "min", "clip")
FUNCTIONS = (*NONLINEARITIES, "moment", "dot", "sum", "mean", "prod", "outer", "grad", "ntk", "cov", "range", "sample", "len",
             "norm", "polar", "where", "softmax", "log_softmax", "logsumexp", "argmax", "argmin", "cross_entropy", "accuracy", "var",
             "std", "layernorm")
LAWS = ("normal", "rademacher", "uniform", "bernoulli", "sparse_normal", "constant", "orthogonal", "symmetric_normal")

_NAME = r"[^\W\d][\w\u0300-\u036f]*"


class TensorProgramLexer(RegexLexer):
    """Tensor Programs: infinite-width limits (tensorprog)."""

    name = "Tensor Program"
    aliases = ["tp", "tensorprog"]
    filenames = ["*.tp"]
    url = "https://arxiv.org/abs/2011.14522"
    version_added = ""

    tokens = {
        "root": [
            (r"\s+", Whitespace),
            (r"#.*$", Comment.Single),
            (rf"(def)(\s+)({_NAME})", bygroups(Keyword, Whitespace, Name.Function)),
            (words(DECLARATIONS, prefix=r"^(\s*)", suffix=r"\b"), Keyword.Declaration),
            (words(CONTROL, prefix=r"\b", suffix=r"\b"), Keyword),
            (words(LOGIC, prefix=r"\b", suffix=r"\b"), Operator.Word),
            (words(TYPES, prefix=r"\b", suffix=r"\b"), Keyword.Type),
            (words(LAWS, prefix=r"\b", suffix=r"(?=\s*\()"), Name.Class),
            (words(FUNCTIONS, prefix=r"\b", suffix=r"'*(?=\s*\()"), Name.Builtin),
            (rf"{_NAME}'*(?=\s*\()", Name.Function),
            (r"(?<=\.)T\b", Name.Attribute),
            (_NAME, Name),
            (r"(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][+-]?[0-9_]+|[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*", Number.Float),
            (r"[0-9][0-9_]*", Number.Integer),
            (r"\*\*|//|[-+*/]=|[=!<>]=|[-+*/%@=<>~]", Operator),
            (r"[\[\](),:;.]", Punctuation),
            (r".", Text),
        ],
    }
