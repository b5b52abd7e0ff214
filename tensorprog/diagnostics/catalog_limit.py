"""TP42x: gradients. TP5xx: powers of n and the limit."""

from __future__ import annotations

from tensorprog.diagnostics.catalog import CatalogEntry

_GRADIENTS = {
    "TP420": CatalogEntry(
        "a gradient far from its scalar",
        "The sweep of a gradient starts where the scalar is computed. Here several statements, in other loops than the "
        "gradient's, compute it, and which of them is meant depends on the index.",
        "f[0] = moment(v*v)\nfor t in range(1, 3):\n    f[t] = t*moment(v*v)\nfor s in range(3):\n"
        "    g = n*grad(f[s], v)\n    c[s] = moment(g*g)\noutput c",
        "for t in range(3):\n    f[t] = (t + 1)*moment(v*v)\n    g = n*grad(f[t], v)\n    c[t] = moment(g*g)\n"
        "output c"),
    "TP421": CatalogEntry(
        "a gradient that depends on itself",
        "A scalar is computed from a gradient of an earlier iteration of the same loop, and is differentiated through "
        "that iteration, so that derivatives of ever higher order would be needed. Differentiate with respect to "
        "the value that the loop updates: the gradient then stops at the update.",
        "u = v\ng = 0*v\nfor t in range(T):\n    f[t] = moment(u*u) + moment(g*u)\n    g = n*grad(f[t], u)\noutput f",
        "u = v\nfor t in range(T):\n    f[t] = moment(u*u)\n    g = n*grad(f[t], u)\n    u -= eta*g\noutput f"),
    "TP422": CatalogEntry(
        "a value older than the variable (warning)",
        "A value was computed before the loop that updates the variable. The gradient takes the variable as it stood "
        "when the scalar was computed, so the older value counts as a constant. For a network that is centred by "
        "subtracting its output at initialization, this is what is wanted.",
        "for a in range(P):\n    f0[a] = moment(v * (U @ X[a]))\nfor t in range(T):\n"
        "    loss[t] = mean((moment(v * (U @ X[a])) - f0[a] - y[a])**2 for a in range(P))\n"
        "    v -= eta*n*grad(loss[t], v)\noutput loss",
        "for t in range(T):\n    loss[t] = mean((moment(v * (U @ X[a])) - y[a])**2 for a in range(P))\n"
        "    v -= eta*n*grad(loss[t], v)\noutput loss"),
    "TP424": CatalogEntry(
        "a gradient that starts inside an earlier loop",
        "A gradient goes back to the last change of the variable. Here that is in the last iteration of a loop, and "
        "the scalar uses something that the same iteration computed from the new value. Inside the loop the way "
        "back is clear.",
        "z = 0*v\nx = v\nfor t in range(3):\n    x += v\n    z = tanh(x)\ns = moment(z*v)\ng = n*grad(s, x)\n"
        "output moment(g*g)",
        "z = 0*v\nx = v\nfor t in range(3):\n    x += v\n    z = tanh(x)\n    s = moment(z*v)\n    g = n*grad(s, x)\n"
        "output moment(g*g)"),
    "TP425": CatalogEntry(
        "a kernel through a copy of a matrix",
        "The gradients in a kernel are kept as outer products, one for each product of the matrix with a vector. Here "
        "the scalar depends on the matrix through another one that was made from it. Applied itself, or named as the "
        "variable, the matrix can be followed.",
        "A = 2*W\nf = moment(v * (A @ v))\noutput ntk(f, f; W)",
        "f = moment(v * (2*(W @ v)))\noutput ntk(f, f; W)"),
    "TP426": CatalogEntry(
        "a kernel of a scalar whose iteration is not known",
        "The scalar was computed in a loop whose variable is no index of it, and how it was computed depends on that "
        "variable: outside of that iteration it is not known over which steps its gradient is a sum.",
        "for t in range(T):\n    h = v\n    for s in range(t):\n        h = W @ tanh(h)\n    f = moment(v * h)\n"
        "output ntk(f, f; W)",
        "for t in range(T):\n    h = v\n    for s in range(t):\n        h = W @ tanh(h)\n    f[t] = moment(v * h)\n"
        "output ntk(f[T-1], f[T-1]; W)"),
    "TP427": CatalogEntry(
        "a covariance of scalars that are not Gaussian",
        "`cov` is for scalars that stay random in the limit. They are linear in random vectors of mean zero (or "
        "matrices) that nothing else in them depends on and that have not been updated; any other part must have a "
        "constant limit. Averages have constant limits: the covariance of the coordinates of x and y, if these have "
        "mean zero, is `moment(x*y)`.",
        "f = moment(tanh(v))\noutput cov(f, f)",
        "x = tanh(W @ v)\nvector r : [n] ~ normal(0, 1)\nf = dot(r, x) / sqrt(n)\noutput cov(f, f)"),
    "TP428": CatalogEntry(
        "a gradient through an array of varying length that changes",
        "A gradient needs the values of the forward pass again. An array whose length differs from iteration to "
        "iteration, as `f[:t]`, is computed once more from what it was made of, and so may not be assigned in two places.",
        "for i in range(3):\n    f[i] = moment(v**2)\nl = 0\nfor t in range(3):\n    if t > 0:\n"
        "        u = 2*f[:t+1]\n    else:\n        u = f[:t+1]\n    l = l + sum(u**2)\ng = grad(l, v)\n"
        "output n*moment(g*v)",
        "for i in range(3):\n    f[i] = moment(v**2)\nl = 0\nfor t in range(3):\n    if t > 0:\n"
        "        l = l + sum((2*f[:t+1])**2)\n    else:\n        l = l + sum(f[:t+1]**2)\ng = grad(l, v)\n"
        "output n*moment(g*v)"),
}

_POWERS = {
    "TP501": CatalogEntry(
        "an output that blows up",
        "Every value is a power of n times something of order one. This output has a positive power, so it has no "
        "limit. Usual causes: `dot` (a sum over n coordinates) where `moment` (an average) is meant, matrix entries of "
        "variance 1 instead of 1/n, or a gradient step that is too large. A readout `V @ x` with V of variance 1/n "
        "sums n terms of order 1/sqrt(n): while V is independent of x the sum is a random number, Gaussian, of order "
        "one, and has a limit; as soon as V and x correlate it is of order sqrt(n).",
        "h = W @ v\noutput dot(h, h)",
        "h = W @ v\noutput moment(h*h)"),
    "TP502": CatalogEntry(
        "a nonlinearity of a value that blows up or vanishes",
        "The argument of a nonlinearity must be of order one: tanh of something of order sqrt(n) is its sign, tanh of "
        "something of order 1/sqrt(n) is linear, and neither is what the program says. A matrix applied to a vector of "
        "order one gives order one if its entries have variance c/n. `relu`, `abs`, `sign` and linear functions "
        "commute with powers of n and take any argument.",
        "matrix A : [n, n] ~ normal(0, 1)\nh = tanh(A @ v)\noutput moment(h*h)",
        "matrix A : [n, n] ~ normal(0, 1)\nh = tanh(A @ v / sqrt(n))\noutput moment(h*h)"),
    "TP503": CatalogEntry(
        "an exponent that depends on n, or is computed",
        "To count powers of n, the exponent of a value that has one must be a number or a parameter.",
        "c = moment(v*v)\noutput n**(-c)",
        "c = moment(v*v)\noutput c * n**(-1) * n"),
    "TP504": CatalogEntry(
        "powers that grow with the iterations",
        "Each iteration multiplies the order of the value by a power of n, so that after T iterations it is n**(cT). "
        "Scale the matrix (variance 1/n) or the update, so that every iteration is of the same order.",
        "matrix A : [n, n] ~ normal(0, 1)\nx = v\nfor t in range(T):\n    x = A @ x\noutput moment(x*x)",
        "matrix A : [n, n] ~ normal(0, 1/n)\nx = v\nfor t in range(T):\n    x = A @ x\noutput moment(x*x)"),
    "TP505": CatalogEntry(
        "a constant without a value",
        "A variance, or another constant of a declaration, divides by zero, takes the logarithm of a negative number, "
        "or raises something to a power that depends on n.",
        "param s = 0\nvector u : [n] ~ normal(0, 1/s)\noutput moment(u*u)",
        "param s = 2\nvector u : [n] ~ normal(0, 1/s)\noutput moment(u*u)"),
    "TP506": CatalogEntry(
        "leading terms that cancel",
        "The leading terms of a sum cancel exactly, and what is left is of lower order. It is followed where the program has "
        "a series in powers of n, but not where it is raised to a power that the program computes. Written without the terms "
        "that cancel, the same value has a limit.",
        "c = moment(v*v)\nx = v + W @ v / sqrt(n)\noutput moment(abs(x - v)**c)",
        "c = moment(v*v)\nd_x = W @ v\noutput moment(abs(d_x)**c)"),
    "TP507": CatalogEntry(
        "identically zero (warning)",
        "The terms of the sum cancel at every width.",
        "h = W @ v\noutput moment(h - h)",
        "h = W @ v\noutput moment(h)"),
    "TP508": CatalogEntry(
        "an output that vanishes (warning)",
        "The output is of a negative power of n: its limit is 0. Multiplied by the inverse power it shows its leading "
        "term.",
        "output moment(v*v) / n",
        "output moment(v*v)"),
    "TP509": CatalogEntry(
        "an update without effect (warning)",
        "The update is of a smaller power of n than the value, so that it vanishes in the limit: the value keeps its "
        "initial law. This is how the kernel regime shows, in which features are not learned. In the maximal update "
        "parametrization the step is multiplied by the missing power, so that every layer moves by order one.",
        "for t in range(T):\n    loss[t] = (moment(v * (U @ X[0])) - y[0])**2\n    v -= eta*grad(loss[t], v)\n"
        "output loss",
        "for t in range(T):\n    loss[t] = (moment(v * (U @ X[0])) - y[0])**2\n    v -= eta*n*grad(loss[t], v)\n"
        "output loss"),
    "TP510": CatalogEntry(
        "one name for values of different order",
        "The elements of a family, and the values that a name takes in loops or branches, share one power of n: the largest.",
        "h[0] = W @ v\nh[1] = n*v\nfor l in range(2, 4):\n    h[l] = h[l-1]\noutput moment(h[0]*h[0])",
        "h[0] = W @ v\nh[1] = v\nfor l in range(2, 4):\n    h[l] = h[l-1]\noutput moment(h[3]*h[3])"),
    "TP511": CatalogEntry(
        "an exponential that grows too fast (warning)",
        "The limit theorem is about averages of functions that grow less than exp(c*x**2) for every c. An average of "
        "something that grows faster may have no expectation, or its largest coordinate outweighs all others at every "
        "width.",
        "output moment(exp(v*v/8))",
        "output moment(exp(-v*v/8))"),
    "TP512": CatalogEntry(
        "a division by a vector that can be zero (warning)",
        "Coordinates near zero make the quotient large, and an average of it need not converge. The theorem covers "
        "quotients whose denominator stays away from zero; a division by a scalar is fine wherever its limit is not "
        "zero. The same holds of logarithms and negative powers.",
        "output moment(tanh(v / (W @ v)))",
        "output moment(tanh(v / sqrt((W @ v)**2 + 0.01)))"),
    "TP513": CatalogEntry(
        "a jump at a value that is zero in the limit (warning)",
        "The limit keeps leading terms. Where these are 0 in every coordinate and meet the jump of `sign`, of `step` "
        "or of the derivative of `relu`, the value at finite width depends on what was dropped (TP III, Appendix E). "
        "So it does where a scalar tends to a jump, as the output of a network at initialization tends to 0, or to the "
        "kink of `abs`, `relu` or `max` and a gradient is taken, or where the denominator of a quotient tends to 0, or where "
        "a vector vanishes as a difference, as u - moment(u*u)*u does: in each network the fluctuation, "
        "of order 1/sqrt(n), decides. A run finds these, says where, and shows `no "
        "limit` instead of a number; an accuracy at initialization is the most frequent case.",
        "vector z : [n] ~ constant(1)\noutput moment(step(z - 1 + v/sqrt(n)))",
        "output moment(step(v/sqrt(n)))"),
    "TP515": CatalogEntry(
        "entries that are not of order one",
        "An entrywise function of a matrix wants entries of order one: a gradient with respect to a matrix has entries "
        "of order 1/n, so that it is multiplied by n first. Powers of n pass through products, quotients, squares, "
        "`sqrt`, `abs`, `relu` and `sign`, but not through other functions, nor through a sum with something of another order.",
        "G = outer(v, v) / n\nA = tanh(G)\nh = A @ v\noutput moment(h*h)",
        "G = outer(v, v)\nA = tanh(G) / n\nh = A @ v\noutput moment(h*h)"),
    "TP516": CatalogEntry(
        "a jump at entries that vanish (warning)",
        "Functions of the entries of a matrix are covered where they are smooth (TP IVb); `sign` jumps at 0, and a network "
        "of finite width decides by what is of lower order. Where the entries have a density, as those of gradients of "
        "smooth networks, the limit is that of a smooth function with a small eps.",
        "G = outer(v, v)\nA = sign(G) / n\nh = A @ v\noutput moment(h*h)",
        "G = outer(v, v)\nA = G / sqrt(G**2 + 0.01) / n\nh = A @ v\noutput moment(h*h)"),
    "TP518": CatalogEntry(
        "a limit that is a correction of finite width",
        "A value is a series in powers of n, and an output gets the first term that does not vanish. This one would "
        "need how an average that does not vanish fluctuates from network to network, or the derivative of a jump to a higher "
        "order: terms that the theory of limits does not give. The first term of a readout that is random at "
        "initialization, and what training by gradients makes of it, do have limits.",
        "output sqrt(n) * moment(v * step(w[0] + v/sqrt(n))) as flips",
        "output dot(v, tanh(w[0])) / sqrt(n) as f"),
    "TP520": CatalogEntry(
        "a random number whose law is random",
        "Readouts at initialization are Gaussian numbers, with covariances that are averages. Here these averages depend "
        "on another such number: given that one, the readout is Gaussian, but as a whole it is not, and limits of limits are "
        "not taken. Numbers that are averages with a limit, as attention logits divided by the width, do not have this "
        "effect.",
        "s = dot(w[0], v) / sqrt(n)\nf = dot(w[1], tanh(s * (W @ v))) / sqrt(n)\noutput f",
        "s = moment(w[0] * v)\nf = dot(w[1], tanh(s + W @ v)) / sqrt(n)\noutput f"),
    "TP521": CatalogEntry(
        "samples whose law is random",
        "`output sample(...)` gives draws of the limit variables of a vector's coordinates, of one law for all networks. Where a "
        "program declares random arrays without a width, or where they depend on outputs that are random at initialization, every "
        "network has a law of its own.",
        "matrix A : [P, d] ~ normal(0, 1)\nx = tanh(A[0, 0] * v)\noutput sample(x) as neurons",
        "input A : [P, d]\nx = tanh(A[0, 0] * v)\noutput sample(x) as neurons"),
    "TP514": CatalogEntry(
        "an accepted warning that is not there (warning)",
        "A comment `# accept TP512: reason` at the end of a line accepts the warnings of that code about this line. "
        "Here there is none, or no more: a comment that stays would hide the next one.",
        "h = W @ v   # accept TP512: the denominator is bounded\noutput moment(h*h)",
        "h = W @ v\noutput moment(h*h)"),
}

ENTRIES = {**_GRADIENTS, **_POWERS}
