"""What the language's own words mean, in a line each (docs/language.md)."""

from __future__ import annotations

from tensorprog.ir.functions import NONLINEARITIES, nonlinearity_names

_WORDS = {
    "width": "a dimension that tends to infinity: `width n`, `width m = 2*n`",
    "size": "finite dimensions, read off the inputs' shapes, or with a default: `size P, d`, `size K = 10`",
    "param": "a real parameter, or an integer one: `param eta = 0.1`, `param T : int = 20`",
    "input": "an array that is given when the program is run: `input X : [P, d]`, `input order : [T] int`",
    "matrix": "a random matrix: `matrix W : [n, n] ~ normal(0, 1/n)`; `= 0` for an accumulator",
    "vector": "a random vector with independent coordinates: `vector v : [n] ~ normal(0, 1)`",
    "output": "results: `output f, loss`, `output moment(x*y) as c01`, `output sample(x, y) as joint`",
    "sample": "joint draws of vectors of one width, as an output; at a finite width their coordinates",
    "moment": "the average over the n coordinates; in the limit the expectation",
    "dot": "the sum over the coordinates of a product, or over two arrays",
    "outer": "`outer(u, v)` is the matrix of the products of coordinates",
    "grad": "`grad(s, v)`: the exact gradient of a scalar, without a hidden power of n",
    "ntk": "`ntk(f, g; U, W, v)`: the inner product of two gradients, the tangent kernel",
    "cov": "`cov(f, g)`: the covariance of two scalars that are Gaussian in the limit, the NNGP kernel",
    "sum": "over an index: `sum(e for a in range(P))`; of an array, over its axis",
    "mean": "over an index: `mean(e for a in range(P))`; of a vector its moment",
    "prod": "the product over an index: `prod(e for a in range(P))`",
    "max": "the largest of several, coordinatewise, or over an index",
    "min": "the smallest of several, coordinatewise, or over an index",
    "clip": "`clip(x, lo, hi)`, coordinatewise",
    "where": "`where(a > b, x, y)`: x where the condition holds, else y, in every coordinate",
    "range": "`range(stop)`, `range(start, stop)`, `range(start, stop, step)`: integers, `stop` excluded",
    "for": "`for t in range(T):`; names set inside keep their last values",
    "if": "the condition compares integers",
    "def": "a function, expanded where it is called: `def phi(u) = u * sigmoid(u)`",
    "normal": "`normal(mean, variance)`",
    "rademacher": "1 or -1, with probability 1/2 each",
    "uniform": "`uniform(lo, hi)`",
    "bernoulli": "`bernoulli(p)`: 1 with probability p, else 0",
    "sparse_normal": "`sparse_normal(rho, variance)`: normal with probability rho, else 0",
    "constant": "`constant(c)`",
    "orthogonal": "`orthogonal(g)`: g times a uniformly random orthogonal matrix",
    "symmetric_normal": "`symmetric_normal(0, 1/n)`: a symmetric Gaussian matrix (GOE)",
    "softmax": "of an array or a family of scalars",
    "log_softmax": "the logarithm of `softmax`, stable",
    "logsumexp": "the logarithm of the sum of exponentials, stable",
    "cross_entropy": "`cross_entropy(logits, label)`",
    "accuracy": "`accuracy(logits, label)`: 1 if the label has the largest logit, else 0",
    "argmax": "`argmax(f)`: the place of the largest entry, a number; the first one of equal ones",
    "argmin": "`argmin(f)`: the place of the smallest entry, a number; the first one of equal ones",
    "var": "the variance over the coordinates of a vector",
    "std": "the standard deviation over the coordinates of a vector",
    "layernorm": "`(x - moment(x)) / std(x)`",
    "len": "the length of an array, an integer",
    "norm": "the root of the sum of squares: of a vector, an array, or the entries of a matrix that is made by updates",
    "polar": "the orthogonal polar factor of a matrix that is made by updates (Muon)",
}


def words() -> dict[str, str]:
    """Every word of the language, with a line about it."""
    functions = {name: f"{NONLINEARITIES[name].description}, coordinatewise on vectors; `{name}'(x)` is its derivative"
                 for name in nonlinearity_names()}
    return _WORDS | functions
