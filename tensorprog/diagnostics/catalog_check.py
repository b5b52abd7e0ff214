"""TP2xx: names, declarations and statements. TP3xx: kinds and shapes. TP4xx: calls (TP42x: catalog_limit)."""

from __future__ import annotations

from tensorprog.diagnostics.catalog import CatalogEntry

_DECLARATIONS = {
    "TP201": CatalogEntry(
        "an unknown name",
        "The name is misspelt, or is used above the line that gives it a value. Statements run from top to bottom.",
        "h = tanh(W @ v)\nc = moment(hh*h)",
        "h = tanh(W @ v)\nc = moment(h*h)"),
    "TP202": CatalogEntry(
        "a declaration inside a block",
        "Declarations list the random objects of the program once and for all. A loop that needs a fresh vector in "
        "each iteration takes it from a family.",
        "for t in range(T):\n    vector e : [n] ~ normal(0, 1)\n    f[t] = moment(e*v)",
        "vector e[T] : [n] ~ normal(0, 1)\nfor t in range(T):\n    f[t] = moment(e[t]*v)"),
    "TP203": CatalogEntry(
        "a name that the language uses",
        "`tanh`, `moment`, `sum` and the other built-in functions keep their meaning.",
        "vector sign : [n] ~ rademacher()",
        "vector signs : [n] ~ rademacher()"),
    "TP204": CatalogEntry(
        "declared twice",
        "A declared name stands for one random object in the whole program. Two independent vectors have two names, or "
        "are two elements of a family.",
        "vector u : [n] ~ normal(0, 1)\nvector u : [n] ~ normal(0, 1)",
        "vector u[2] : [n] ~ normal(0, 1)"),
    "TP205": CatalogEntry(
        "the first width has a value",
        "A width tends to infinity, so it has no number. The first one is declared bare, later ones as multiples of "
        "it. A finite width is chosen when the program is simulated.",
        "width n = 512\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v)",
        "width n\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v)"),
    "TP206": CatalogEntry(
        "widths that are not tied",
        "All widths tend to infinity together, with fixed ratios: the limit depends on m/n, as in the law of Marchenko "
        "and Pastur. `m = n**2` has no such ratio.",
        "width n\nwidth m\nvector v : [m] ~ normal(0, 1)\noutput moment(v*v)",
        "width n\nwidth m = 2*n\nvector v : [m] ~ normal(0, 1)\noutput moment(v*v)"),
    "TP208": CatalogEntry(
        "a default that is not a number",
        "The default of a parameter or size is a plain number of its type. What depends on the width or on other "
        "parameters is written where it is used.",
        "param rate = 1/n\nc = rate * dot(v, v)",
        "param rate = 1\nc = rate/n * dot(v, v)"),
    "TP209": CatalogEntry(
        "wrong number of axes",
        "A `matrix` has two axes, a `vector` one.",
        "vector A : [n, n] ~ normal(0, 1/n)",
        "matrix A : [n, n] ~ normal(0, 1/n)"),
    "TP211": CatalogEntry(
        "a law that no width x width matrix has",
        "The entries of such a matrix are independent and have mean 0: normal, uniform, rademacher or sparse_normal. In the "
        "limit only their variance matters (universality). `symmetric_normal`, with A = A.T, is for square ones, and "
        "`orthogonal(g)` has dependent entries.",
        "matrix A : [n, n] ~ bernoulli(0.5)",
        "matrix A : [n, n] ~ normal(0, 1/n)"),
    "TP212": CatalogEntry(
        "a matrix with a mean",
        "Entries of mean c add c times the all-ones matrix, whose effect on a vector is n times its average. Written "
        "as an outer product, its power of n is visible.",
        "matrix A : [n, n] ~ normal(1, 1/n)\nh = A @ v",
        "matrix A : [n, n] ~ normal(0, 1/n)\nvector ones : [n] ~ constant(1)\nh = A @ v + outer(ones, ones) @ v / n"),
    "TP214": CatalogEntry(
        "an unknown law",
        "Laws are normal, rademacher, uniform, bernoulli, sparse_normal and constant; each coordinate is independent. Square "
        "matrices may be symmetric_normal, and width x width matrices orthogonal.",
        "vector u : [n] ~ gaussian(0, 1)",
        "vector u : [n] ~ normal(0, 1)"),
    "TP215": CatalogEntry(
        "a law with wrong arguments",
        "`normal(mean, variance)` takes both; its second argument is the variance, not the standard deviation.",
        "vector u : [n] ~ normal(1)",
        "vector u : [n] ~ normal(0, 1)"),
    "TP216": CatalogEntry(
        "a negative variance",
        "The second argument of `normal` is the variance sigma**2.",
        "vector u : [n] ~ normal(0, -1)",
        "vector u : [n] ~ normal(0, 1)"),
}

_STATEMENTS = {
    "TP217": CatalogEntry(
        "maybe not assigned",
        "The name gets its value in a branch, and is read where that branch may not have run.",
        "for t in range(T):\n    if t == 0:\n        h = 2*x\n    else:\n        x = v\n        h = x",
        "x = v\nfor t in range(T):\n    if t == 0:\n        h = 2*x\n    else:\n        h = x"),
    "TP218": CatalogEntry(
        "an integer that depends on a branch",
        "Indices and loop bounds are known before the program runs. An integer that only one branch sets, such as the "
        "last value of a loop variable in it, has no such value after the branch.",
        "for t in range(T):\n    if t > 0:\n        for q in range(t):\n            x = v\n    f[t] = q * moment(v*v)",
        "for t in range(T):\n    f[t] = (t - 1) * moment(v*v)"),
    "TP219": CatalogEntry(
        "an output inside a block",
        "Outputs are listed at the top level. A loop fills a family, which is output as a whole.",
        "for t in range(T):\n    output moment(v*v)*t",
        "for t in range(T):\n    f[t] = moment(v*v)*t\noutput f"),
    "TP221": CatalogEntry(
        "wrong number of values",
        "An assignment to several names needs as many values.",
        "a, b, c = W @ v, v",
        "a, b = W @ v, v"),
    "TP222": CatalogEntry(
        "assignment to a slice",
        "Elements are assigned one by one, so that the compiler sees which index belongs to which iteration.",
        "f[:] = y",
        "for a in range(P):\n    f[a] = y[a]"),
    "TP223": CatalogEntry(
        "indices in separate brackets",
        "An element of a family is assigned with all its indices in one bracket.",
        "for t in range(T):\n    f[t][0] = moment(v*v)",
        "for t in range(T):\n    f[t, 0] = moment(v*v)"),
    "TP224": CatalogEntry(
        "assignment to an element of a result",
        "Only names and elements of families hold values.",
        "def f(u) = u\nf(v)[0] = 1",
        "f[0] = 1"),
    "TP225": CatalogEntry(
        "assignment to something fixed",
        "Inputs, parameters, sizes, widths, functions and the variable of a running loop keep their values. Vectors "
        "and matrices are the state of a program; those are updated.",
        "for t in range(T):\n    eta *= 0.9",
        "rate = eta\nfor t in range(T):\n    rate *= 0.9"),
    "TP226": CatalogEntry(
        "wrong number of indices",
        "A family has a fixed number of indices, the same in every assignment, and a plain name has none.",
        "f[0] = 1\nf[0, 1] = 2",
        "f[0, 0] = 1\nf[0, 1] = 2"),
    "TP227": CatalogEntry(
        "a name that changes its kind",
        "Where loops or branches assign a name again, it keeps its kind: a number stays a number, a vector a vector of "
        "the same width.",
        "x = 0.5\nfor t in range(T):\n    x = W @ v",
        "x = 0.5*v\nfor t in range(T):\n    x = W @ v"),
    "TP228": CatalogEntry(
        "an integer updated by a real number",
        "The name stands for an integer (the last value of a loop variable, say), which indices may use.",
        "for t in range(T):\n    x = v\nt += moment(v)",
        "for t in range(T):\n    x = v\nlast = 1.0*t\nlast += moment(v)"),
    "TP230": CatalogEntry(
        "a step that is not a literal",
        "The direction of a loop must be known when the program is compiled, because gradients run loops backwards.",
        "for t in range(0, 10, T):\n    x = v",
        "for t in range(0, 10, 2):\n    x = v"),
    "TP231": CatalogEntry(
        "a loop variable that is another name",
        "The variable of a loop is a new name.",
        "t = moment(v*v)\nfor t in range(T):\n    x = v",
        "c = moment(v*v)\nfor t in range(T):\n    x = v"),
    "TP232": CatalogEntry(
        "a program without output",
        "Nothing would be computed.",
        "width n\nvector v : [n] ~ normal(0, 1)\nc = moment(v*v)",
        "width n\nvector v : [n] ~ normal(0, 1)\nc = moment(v*v)\noutput c"),
    "TP233": CatalogEntry(
        "two outputs of one name",
        "Results are found by name.",
        "c = moment(v*v)\noutput c, moment(v) as c",
        "c = moment(v*v)\noutput c, moment(v) as mean_v"),
    "TP234": CatalogEntry(
        "an output that is no number",
        "In the limit a vector is a random variable, the law of one coordinate, and a matrix an operator. What "
        "converges to numbers are averages over the coordinates, so these are output.",
        "h = W @ v\noutput h",
        "h = W @ v\noutput moment(h), moment(h*h) as second"),
    "TP235": CatalogEntry(
        "an element that is never assigned",
        "A family has the elements that statements assign. This one is outside of all of them, whatever the sizes are.",
        "for t in range(T):\n    f[t] = moment(v*v)\nc = f[T]",
        "for t in range(T):\n    f[t] = moment(v*v)\nc = f[T-1]"),
    "TP239": CatalogEntry(
        "a sample of what is no vector",
        "`output sample(x, y)` gives joint draws of the limit variables of vectors of one width; at a finite width these "
        "are their coordinates. Numbers and families of them are output as they are.",
        "h = W @ v\nc = moment(h*h)\noutput sample(h, c) as joint",
        "h = W @ v\nc = moment(h*h)\noutput sample(h, v) as joint, c"),
}

_KINDS = {
    "TP301": CatalogEntry(
        "not an integer",
        "Indices, loop bounds and conditions are made of integers: literals, sizes, loop variables, `int` parameters "
        "and entries of `int` inputs. Which statements run may not depend on computed values. `/` makes a real number.",
        "for l in range(T/2):\n    f[l] = moment(v*v)",
        "for l in range(T//2):\n    f[l] = moment(v*v)"),
    "TP302": CatalogEntry(
        "not a condition",
        "`if` compares integers. A choice that differs from coordinate to coordinate is a nonlinearity, written with "
        "step, max, min or clip.",
        "for t in range(T):\n    if t % 2:\n        x = v",
        "for t in range(T):\n    if t % 2 == 1:\n        x = v"),
    "TP303": CatalogEntry(
        "not a constant",
        "Variances and other arguments of declarations are numbers, sizes, parameters and widths, combined by "
        "arithmetic, because the law of a random object is fixed before anything is computed.",
        "c = moment(v*v)\nvector u : [n] ~ normal(0, c)",
        "c = moment(v*v)\nvector g : [n] ~ normal(0, 1)\nu = sqrt(c)*g"),
    "TP304": CatalogEntry(
        "a width where a size belongs",
        "Data and families have finite axes; what has an axis that tends to infinity is a vector or a matrix.",
        "input Z : [P, n]",
        "input Z : [P, d]"),
    "TP305": CatalogEntry(
        "an extent that is not positive",
        "Sizes are at least 1.",
        "size H = 0",
        "size H = 1"),
    "TP306": CatalogEntry(
        "operands that do not fit",
        "Arithmetic is coordinatewise: vectors must have one width, finite arrays one shape; numbers go with "
        "everything.",
        "r = X[0] - y",
        "r = X[0] - X[1]"),
    "TP307": CatalogEntry(
        "a matrix where a value belongs",
        "A width x width matrix acts on vectors; nonlinearities act on the vectors that result. Matrices are updated "
        "by matrices.",
        "h = moment(W)",
        "h = moment(W @ v)"),
    "TP308": CatalogEntry(
        "several values where one belongs",
        "A function that returns several values is called in an assignment to several names.",
        "def both(u):\n    return W @ u, W.T @ u\nh = tanh(both(v))",
        "def both(u):\n    return W @ u, W.T @ u\na, b = both(v)\nh = tanh(a)"),
    "TP309": CatalogEntry(
        "not a single number",
        "A loss is one number, and so is the factor of a matrix.",
        "h = W @ v\ng = grad(h, v)",
        "h = W @ v\ng = grad(moment(h*h), v)"),
    "TP310": CatalogEntry(
        "a comparison as a value",
        "Comparisons stand in conditions on integers. The indicator of h > 0, coordinatewise, is `step(h)`.",
        "h = W @ v\nc = moment(h * (h > 0))",
        "h = W @ v\nc = moment(h * step(h))"),
    "TP311": CatalogEntry(
        "an integer that is too large",
        "Integers have 64 bits; they are counts and indices. Large factors are real numbers.",
        "c = 10**30",
        "c = 1e30"),
    "TP312": CatalogEntry(
        "a function without its argument",
        "Functions are called; they are not values.",
        "h = W @ tanh",
        "h = W @ tanh(v)"),
    "TP313": CatalogEntry(
        "an index on something without elements",
        "Inputs and families have elements.",
        "k = 3\nc = k[0]",
        "k[0] = 3\nc = k[0]"),
    "TP314": CatalogEntry(
        "a negative index",
        "Indices count from 0, and do not count from the end.",
        "h[0] = v\nh[1] = W @ v\nc = moment(h[-1])",
        "h[0] = v\nh[1] = W @ v\nc = moment(h[1])"),
    "TP315": CatalogEntry(
        "too many indices for an input",
        "An input has as many axes as its declaration.",
        "c = y[0, 0]",
        "c = y[0]"),
    "TP316": CatalogEntry(
        "an integer input as a whole",
        "Integer inputs hold indices and counts; they are read one entry at a time.",
        "c = sum(ids)",
        "c = sum(ids[t] for t in range(T))"),
    "TP317": CatalogEntry(
        "indices on a matrix",
        "A single entry or row of a width x width matrix has no limit. A family of matrices takes its indices before "
        "it is applied.",
        "matrix A[T] : [n, n] ~ normal(0, 1/n)\nh = A @ v",
        "matrix A[T] : [n, n] ~ normal(0, 1/n)\nh = A[0] @ v"),
    "TP318": CatalogEntry(
        "a single coordinate of a vector",
        "In the limit the coordinates of a vector are independent and identically distributed: none of them converges, "
        "only averages do.",
        "h = W @ v\nc = h[0]",
        "h = W @ v\nc = moment(h*h)"),
    "TP319": CatalogEntry(
        "a slice of a family of vectors",
        "Families of numbers can be read as arrays; vectors are taken one at a time.",
        "for a in range(P):\n    h[0, a] = U @ X[a]\nx = W @ h[0]",
        "for a in range(P):\n    h[0, a] = U @ X[a]\nx = W @ mean(h[0, a] for a in range(P))"),
    "TP320": CatalogEntry(
        "a family of unknown extent",
        "The family is filled at indices that depend on data, so that its length is not known.",
        "for t in range(T):\n    f[ids[t]] = t\nc = sum(f)",
        "for t in range(T):\n    f[t] = ids[t]\nc = sum(f)"),
    "TP321": CatalogEntry(
        "integer division of real numbers",
        "`//` and `%` are for integers.",
        "c = moment(v*v) // 2",
        "c = moment(v*v) / 2"),
    "TP322": CatalogEntry(
        "division by zero",
        "The divisor is zero for all data.",
        "h = v / 0",
        "h = v / 2"),
    "TP323": CatalogEntry(
        "a product of matrices",
        "The product of two matrices is a matrix of the language if both are made by updates. One that holds a random "
        "matrix is not one of the objects of the theory; its action on a vector is, as two steps.",
        "A = W @ W\nh = A @ v",
        "h = W @ (W @ v)"),
    "TP324": CatalogEntry(
        "arithmetic that matrices do not have",
        "Matrices are scaled by numbers, added, and applied to vectors; those that are made by updates are combined entry "
        "by entry with each other and with numbers.",
        "h = (W + v) @ v",
        "h = W @ (W @ v)"),
    "TP325": CatalogEntry(
        "two kinds in one value",
        "Both sides of a conditional value, and all branches of a function, give the same kind of value.",
        "def f(u, k):\n    if k == 0:\n        return moment(u)\n    else:\n        return u\nx = f(v, 1)",
        "def f(u, k):\n    if k == 0:\n        return 2*u\n    else:\n        return u\nx = f(v, 1)"),
    "TP326": CatalogEntry(
        "matrices of different shapes",
        "Only matrices with the same widths are added.",
        "width m = 2*n\nmatrix A : [m, n] ~ normal(0, 1/n)\nh = (A + W) @ v",
        "matrix A : [n, n] ~ normal(0, 1/n)\nh = (A + W) @ v"),
    "TP327": CatalogEntry(
        "the transpose of a vector",
        "Vectors are neither rows nor columns. The inner product is `dot(u, v)`; its average over the coordinates, "
        "which has a limit, is `moment(u*v)`.",
        "h = W @ v\nc = v.T @ h / n",
        "h = W @ v\nc = moment(v*h)"),
    "TP328": CatalogEntry(
        "an outer product of numbers",
        "`outer(u, v)` is the matrix of the products of the coordinates of two vectors.",
        "A = W + outer(eta, v)",
        "A = W + eta/n * outer(v, v)"),
    "TP329": CatalogEntry(
        "a matrix on the wrong vector",
        "A matrix `[m, n]` is applied to vectors of width n, and gives vectors of width m; its transpose goes the "
        "other way.",
        "width m = 2*n\nmatrix A : [m, n] ~ normal(0, 1/n)\nvector u : [m] ~ normal(0, 1)\nh = A @ u",
        "width m = 2*n\nmatrix A : [m, n] ~ normal(0, 1/n)\nvector u : [m] ~ normal(0, 1)\nh = A.T @ u"),
    "TP330": CatalogEntry(
        "a product that does not fit",
        "`@` applies matrices and contracts the last axis of the left side with the first of the right one.",
        "h = X @ v",
        "h = U @ X[0]"),
}

_CALLS = {
    "TP401": CatalogEntry(
        "a prime on something that has no derivative",
        "`phi'` is the derivative of a coordinatewise function of one coordinate. Derivatives of moments and through "
        "matrices are gradients: `grad(s, v)`.",
        "c = moment'(v)",
        "g = grad(moment(v*v), v)"),
    "TP402": CatalogEntry(
        "a `;` where none belongs",
        "Only `ntk(f, g; U, W, V)` has a second list of arguments.",
        "c = moment(v; W)",
        "c = moment(v)"),
    "TP403": CatalogEntry(
        "a call of something that is no function",
        "Products are written with `*` or `@`.",
        "h = eta(W @ v)",
        "h = eta*(W @ v)"),
    "TP404": CatalogEntry(
        "an unknown function",
        "Nonlinearities that the language does not have are defined by the program, above their first use.",
        "h = cube(W @ v)",
        "def cube(u) = u**3\nh = cube(W @ v)"),
    "TP405": CatalogEntry(
        "wrong number of arguments",
        "Arguments are given by position, all of them.",
        "g = grad(moment(v*v))",
        "g = grad(moment(v*v), v)"),
    "TP406": CatalogEntry(
        "a sum without an index",
        "`sum`, `mean`, `prod`, `max` and `min` run over a finite index or a finite array. Over the coordinates of a "
        "vector there is `moment` (the average) and `dot` (the sum of products).",
        "c = sum(v) / n",
        "c = moment(v)"),
    "TP407": CatalogEntry(
        "a moment of something that is no vector",
        "`moment` averages over the n coordinates of a vector.",
        "c = moment(y)",
        "c = mean(y)"),
    "TP408": CatalogEntry(
        "a dot product that does not fit",
        "`dot` takes two vectors or two matrices of one shape, and adds up the products of their entries, or two arrays of one "
        "length.",
        "c = dot(v, X[0])",
        "c = dot(X[0], X[1])"),
    "TP409": CatalogEntry(
        "a `for` in a function that takes none",
        "Only sum, mean, prod, max and min run over an index.",
        "c = tanh(y[a] for a in range(P))",
        "c = sum(tanh(y[a]) for a in range(P))"),
    "TP335": CatalogEntry(
        "a function of a matrix that holds a random one",
        "Entrywise functions, `polar` and `norm` take matrices that are made by updates: sums of outer products, gradients, "
        "accumulators that start at zero, and functions of those. A matrix that a declared random one was added to stays "
        "linear; `dot` takes it beside one that is made by updates.",
        "A = sign(W)\nh = A @ v",
        "G = outer(v, v)\nA = tanh(G)\nh = A @ v / n"),
    "TP336": CatalogEntry(
        "the polar factor of something that is no matrix",
        "`polar(M)` has the singular vectors of a width x width matrix M, and 1 for its singular values.",
        "h = polar(v)",
        "h = polar(outer(v, v)) @ v"),
    "TP410": CatalogEntry(
        "a gradient with respect to something that is no variable",
        "A gradient is taken with respect to a value that has a name and that the scalar was computed from: a declared "
        "vector or matrix, a real input (or a part of it) or parameter, or a name that the program assigned.",
        "f = moment(v * (U @ X[0]))\ng = grad(f, 2*v)",
        "u = 2*v\nf = moment(u * (U @ X[0]))\ng = grad(f, u)"),
    "TP411": CatalogEntry(
        "a gradient with respect to a family",
        "Each element has its own gradient.",
        "f = moment(w[0]*w[1])\ng = grad(f, w)",
        "f = moment(w[0]*w[1])\nfor l in range(2):\n    g[l] = grad(f, w[l])"),
    "TP412": CatalogEntry(
        "the variables of a tangent kernel",
        "After its `;`, `ntk` lists once what the gradients are taken with respect to: declared matrices and vectors, "
        "whole families (`W`) or one element (`W[l]`) of them, or other names.",
        "f = moment(v * (U @ X[0]))\nk = ntk(f, f)",
        "f = moment(v * (U @ X[0]))\nk = ntk(f, f; U, v)"),
    "TP413": CatalogEntry(
        "recursion",
        "Functions are expanded where they are called, so a function cannot call itself.",
        "def power(u, k) = u if k == 0 else W @ power(u, k-1)\nh = power(v, 3)",
        "def power(u, k):\n    x = u\n    for t in range(k):\n        x = W @ x\n    return x\nh = power(v, 3)"),
    "TP414": CatalogEntry(
        "a return in the wrong place",
        "`return` is the last statement of a function, or of every branch of its last `if`. Results of the program are "
        "written with `output`.",
        "def f(u, k):\n    if k == 0:\n        return u\n    return W @ u\nx = f(v, 1)",
        "def f(u, k):\n    if k == 0:\n        return u\n    else:\n        return W @ u\nx = f(v, 1)"),
    "TP415": CatalogEntry(
        "an update from inside a function",
        "Functions see the names above them but do not change them.",
        "total = 0.0\ndef add(u):\n    total += moment(u)\n    return u\nx = add(v)",
        "def add(total, u) = total + moment(u)\ntotal = add(0.0, v)"),
    "TP416": CatalogEntry(
        "a function inside a block",
        "Functions are defined at the top level.",
        "for t in range(T):\n    def f(u) = tanh(u)\n    x = f(v)",
        "def f(u) = tanh(u)\nfor t in range(T):\n    x = f(v)"),
    "TP417": CatalogEntry(
        "two parameters of one name",
        "Each parameter has its own name.",
        "def f(u, u) = u*u",
        "def f(u, w) = u*w"),
    "TP418": CatalogEntry(
        "a function that returns nothing",
        "A function is a value: its last statement is `return`, and if that is an `if`, every branch returns.",
        "def layer(u):\n    h = tanh(W @ u)",
        "def layer(u):\n    return tanh(W @ u)"),
    "TP431": CatalogEntry(
        "a gradient with respect to a parameter of a law",
        "What is drawn from a law that depends on a parameter has no derivative by it: the program's values have. Draw from "
        "a law without the parameter, and compute with what is drawn.",
        "param s = 1.5\nmatrix B : [n, n] ~ normal(0, s/n)\nf = moment(v * tanh(B @ v))\ng = grad(f, s)",
        "param s = 1.5\nmatrix B : [n, n] ~ normal(0, 1/n)\nf = moment(v * tanh(sqrt(s) * (B @ v)))\ng = grad(f, s)"),
    "TP430": CatalogEntry(
        "a function that expands to too much",
        "Functions are expanded where they are called, and so are those that they call: a function that calls another one "
        "twice, which does the same, and so on, doubles at every step. One call may expand to 10,000 operations. Equal "
        "calls with equal arguments count once.",
        "def f0(x) = tanh(tanh(x))\n"
        + "".join(f"def f{k}(x) = f{k - 1}(f{k - 1}(x))\n" for k in range(1, 15)) + "h = f14(v)",
        "h = v\nfor t in range(32768):\n    h = tanh(h)"),
}

ENTRIES = {**_DECLARATIONS, **_STATEMENTS, **_KINDS, **_CALLS}
