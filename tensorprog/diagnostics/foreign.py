"""What functions, methods and laws of other libraries (PyTorch, NumPy, JAX) are called here, as help texts.

`instead_of_function("LayerNorm")` -> "write `layernorm(h)`": the names of modules, functions and methods, in any spelling
of upper and lower case and underscores.
"""

from __future__ import annotations

AVERAGE = "write `moment(h)` for the average over the coordinates of a vector, `sum(... for a in range(P))` over an index"
PLAIN_LOOP = "loops run over a range: `for a in range(P):`, with `X[a]` and `y[a]` inside"
UPDATE = "updates are statements: `W -= eta * grad(loss, W)`"
PRODUCTS = ("write products out: `W @ x`, `dot(u, v)`, `outer(u, v)`, `X[a] @ X[b]`, or "
            "`sum(X[a, i]*w[i] for i in range(d))`")
DECLARE = "declare it: `vector v : [n] ~ normal(0, 1)`, or `matrix W : [n, n] ~ normal(0, 1/n)`"

_FUNCTIONS = {
    **dict.fromkeys(("zeros", "zeroslike"), "declare `vector x : [n] = 0`, or write `0*v`"),
    **dict.fromkeys(("ones", "oneslike", "full"), "declare `vector ones : [n] ~ constant(1)`"),
    **dict.fromkeys(("randn", "normal", "gauss", "gaussian", "random", "rand", "parameter"), DECLARE),
    **dict.fromkeys(("e", "expectation", "average", "avg", "nanmean"), "write `moment(x)`"),
    "mean": AVERAGE, "variance": "write `var(h)`", "standarddeviation": "write `std(h)`",
    "norm": "write `sqrt(moment(x*x))`",
    **dict.fromkeys(("inner", "vdot", "innerproduct"), "write `dot(u, v)`, or `moment(u*v)` for the average"),
    **dict.fromkeys(("matmul", "mm", "mv", "bmm"), "write `W @ x`, or `dot(u, v)` for vectors"),
    **dict.fromkeys(("einsum", "tensordot", "bilinear"), PRODUCTS), "kron": "write `outer(u, v)`",
    "transpose": "write `W.T`", "pow": "write `x**y`", "power": "write `x**y`",
    "maximum": "write `max(x, y)`", "minimum": "write `min(x, y)`", "ln": "write `log(x)`", "fabs": "write `abs(x)`",
    "heaviside": "write `step(x)`", "sgn": "write `sign(x)`", "swish": "write `silu(x)`",
    "logistic": "write `sigmoid(x)`", "clamp": "write `clip(x, -1, 1)`", "hardtanh": "write `clip(x, -1, 1)`",
    "relu6": "write `clip(x, 0, 6)`", "logsigmoid": "write `-softplus(-x)`", "squareplus": "define it: "
    "`def squareplus(x) = (x + sqrt(x*x + 4))/2`",
    **dict.fromkeys(("leakyrelu", "prelu"), "write `max(x, 0.01*x)`"),
    "elu": "define it: `def elu(x) = max(x, 0) + exp(min(x, 0)) - 1`",
    "selu": "define it: `def selu(x) = 1.0507*(max(x, 0) + 1.67326*(exp(min(x, 0)) - 1))`",
    "mish": "define it: `def mish(x) = x * tanh(softplus(x))`",
    "quickgelu": "define it: `def quick_gelu(x) = x * sigmoid(1.702*x)`",
    "softsign": "define it: `def softsign(x) = x / (1 + abs(x))`",
    "identity": "remove it",
    "float": "remove it, numbers are real where they meet real ones", "int": "integers are divided by `//`",
    **dict.fromkeys(("gradient", "backward", "jacobian", "diff", "grad", "valueandgrad"), "write `grad(loss, v)`"),
    **dict.fromkeys(("dropout", "alphadropout"), "multiply by a mask of its own: `vector mask : [n] ~ bernoulli(0.9)`, "
                    "then `mask * h / 0.9`"),
    **dict.fromkeys(("crossentropy", "crossentropyloss", "nllloss", "softmaxcrossentropy"), "write `cross_entropy(f[a], y[a])` with an "
                    "`input y : [P] int`"),
    **dict.fromkeys(("bcewithlogitsloss", "bceloss", "binarycrossentropy", "bcewithlogits"),
                    "write `softplus(-y[a]*f[a])` for labels 1 and -1"),
    **dict.fromkeys(("mseloss", "mse", "l2loss"), "write `mean((f[a] - y[a])**2 for a in range(P))`"),
    **dict.fromkeys(("l1loss", "mae"), "write `mean(abs(f[a] - y[a]) for a in range(P))`"),
    **dict.fromkeys(("hingeloss", "hingeembeddingloss"), "write `relu(1 - y[a]*f[a])`"),
    "layernorm": "write `layernorm(h)`", "logsoftmax": "write `log_softmax(f[a])`",
    "rmsnorm": "define it: `def rmsnorm(h) = h / sqrt(moment(h*h))`",
    **dict.fromkeys(("batchnorm", "batchnorm1d", "batchnorm2d"), "write the statistics over the batch out: "
                    "`(h[a] - mean(h[b] for b in range(P))) / sqrt(...)`, coordinatewise"),
    **dict.fromkeys(("groupnorm", "instancenorm"), "write `layernorm(h)` for each group of neurons, a vector each"),
    **dict.fromkeys(("linear", "dense"), "declare `matrix W : [n, n] ~ normal(0, 1/n)`, and write `W @ x + b`"),
    **dict.fromkeys(("embedding", "lookup"), "declare `vector E[V] : [n] ~ normal(0, 1)`, and write `E[ids[t]]`"),
    **dict.fromkeys(("conv1d", "conv2d", "conv", "convolve"), "write a matrix for each offset: `matrix W[3] : [n, n] ~ "
                    "normal(0, 1/n)`, then `sum(W[k] @ x[i + k] for k in range(3))`"),
    **dict.fromkeys(("maxpool", "maxpool1d", "maxpool2d"), "write `max(h[i] for i in range(S))`"),
    **dict.fromkeys(("avgpool", "avgpool1d", "avgpool2d", "adaptiveavgpool2d", "globalavgpool"),
                    "write `mean(h[i] for i in range(S))`"),
    **dict.fromkeys(("attention", "multiheadattention", "scaleddotproductattention"), "write it out: `s[i, j] = "
                    "moment(q[i]*k[j])`, then `sum(softmax(s[i])[j] * v[j] for j in range(S))`"),
    **dict.fromkeys(("rnn", "lstm", "gru", "lstmcell", "grucell", "rnncell"), "write the step out in a loop: "
                    "`h = tanh(W @ h + U @ X[t])`"),
    **dict.fromkeys(("sequential", "modulelist"), "write a line for each layer, or a loop over a family of matrices"),
    **dict.fromkeys(("concat", "concatenate", "cat", "hstack", "vstack"), "vectors of one width are not joined: give "
                    "each part a matrix of its own, `W1 @ a + W2 @ b`"),
    "stack": "assign the elements of a family, as in `h[a] = ...`",
    **dict.fromkeys(("append", "extend", "insert"), "assign the elements of a family, as in `h[l + 1] = ...`"),
    **dict.fromkeys(("copy", "clone", "detach", "numpy", "item", "todevice", "cuda", "cpu", "to", "eval", "train",
                     "stopgradient", "contiguous"), "remove it, a plain assignment copies"),
    **dict.fromkeys(("reshape", "view", "flatten", "squeeze", "unsqueeze", "permute", "rearrange"),
                    "remove it, values have the shape of their declaration"),
    **dict.fromkeys(("zerograd", "sgd", "adam", "adamw", "optimizer"), UPDATE),
    **dict.fromkeys(("zip", "enumerate"), PLAIN_LOOP),
    "print": "write `output f` for a result",
    "sample": "draws are an output: `output sample(x, y) as joint`",
}

_LAWS = {
    **dict.fromkeys(("xavier", "xaviernormal", "xavieruniform", "glorot", "glorotnormal", "glorotuniform", "lecun",
                     "lecunnormal", "lecununiform"), "write `normal(0, 1/n)`, with the fan-in in the place of n (only "
                    "the variance matters for a matrix)"),
    **dict.fromkeys(("kaiming", "kaimingnormal", "kaiminguniform", "he", "henormal", "heuniform"),
                    "write `normal(0, 2/n)`, with the fan-in in the place of n (only the variance matters for a matrix)"),
    **dict.fromkeys(("gaussian", "gauss", "n", "randn", "trunc", "truncnormal", "truncatednormal"),
                    "write `normal(0, 1)`: mean and variance"),
    **dict.fromkeys(("zeros", "zero"), "write `= 0` instead of `~ ...`"),
    **dict.fromkeys(("ones", "one"), "write `constant(1)`"),
    **dict.fromkeys(("rand", "random"), "write `uniform(0, 1)`"),
    **dict.fromkeys(("sign", "signs", "spin", "spins"), "write `rademacher()`"),
    **dict.fromkeys(("dropout", "mask"), "write `bernoulli(0.9)`"),
}


def _key(name: str) -> str:
    return name.replace("_", "").lower()


def instead_of_function(name: str) -> str | None:
    """What to write instead of a function or method of another library; None for an unknown one."""
    return _FUNCTIONS.get(_key(name))


def instead_of_law(name: str) -> str | None:
    """What to write instead of an initializer of another library; None for an unknown one."""
    return _LAWS.get(_key(name))
