"""How the values in `known_answers.py` were computed: one function for each case, or for a few that are alike.

None of them uses the compiler: closed forms, quadrature, exact coefficient algebra (`Span`) or samples of the limit
variables (`Particles`). `python tests/helpers/known_answers.py` recomputes every value with them and compares.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import roots_hermitenorm

RNN_GRAM = [[1, 0.5, 0.2], [0.5, 1, 0.5], [0.2, 0.5, 1]]
RNN_DATA = {"X": np.linalg.cholesky(np.array(RNN_GRAM)).tolist()}
SMALL_BATCH = {"X": [[1.0, 0.5], [-0.3, 1.2]], "y": [1.0, -1.0]}
UNIT_VECTORS = {"X": [[1.0, 0.0], [0.5, math.sqrt(0.75)], [0.0, 1.0]]}
PIXELS = {"X": np.eye(4).tolist()}
TOKENS = {"X": [[1.0, 0.0, 0.5], [0.3, -0.8, 0.2], [-0.5, 0.4, 1.0]]}
WORD_DATA = {"ctx": [0, 1, 2, 0, 1, 0, 2, 1, 0, 1, 2, 0, 2, 2, 1, 1],
             "word": [1, 0, 1, 2, 2, 1, 0, 1, 1, 2, 1, 0, 0, 2, 1, 2],
             "y": [1.0, -1.0, 1.0, 0.5, 1.0, -1.0, 1.0, 0.0, 1.0, 0.5, -1.0, 1.0, 0.0, 1.0, -0.5, 1.0]}


def gaussian_mean(function, variance=1.0, kinks=(0.0,)):
    """E function(z), z ~ N(0, variance), by adaptive quadrature split at the kinks."""
    from scipy.integrate import quad

    scale = math.sqrt(variance)
    if scale == 0:
        return float(function(0.0))
    edges = [-12.0, *sorted(k / scale for k in kinks if abs(k) < 12 * scale), 12.0]
    density = lambda z: function(scale * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return sum(quad(density, a, b, epsabs=1e-14, epsrel=1e-13, limit=200)[0] for a, b in zip(edges, edges[1:]))


def gaussian_mean_2d(function, covariance, nodes=160):
    """E function(z1, z2) for a smooth function, by Gauss-Hermite quadrature."""
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    root = np.linalg.cholesky(np.asarray(covariance))
    z1, z2 = root[0, 0] * x[:, None] + 0 * x, root[1, 0] * x[:, None] + root[1, 1] * x
    return float(w @ function(z1, z2) @ w)


class Span:
    """Vectors as coefficients on an orthonormal basis of Gaussians: exact for programs linear in them."""

    def __init__(self, size=96):
        self.size, self.used = size, 0

    def fresh(self):
        self.used += 1
        return np.eye(self.size)[self.used - 1]

    def mean(self, x, y):
        return float(x @ y)


class Particles:
    """Vectors as samples: one scrambled Sobol sequence mapped to normals."""

    def __init__(self, log2_samples, dimension, seed):
        from scipy.special import ndtri
        from scipy.stats import qmc

        points = qmc.Sobol(dimension, seed=seed).random_base2(log2_samples)
        self.columns = iter(ndtri(np.clip(points, 1e-12, 1 - 1e-12)).T)

    def fresh(self):
        return np.ascontiguousarray(next(self.columns))

    def mean(self, x, y):
        return float(x @ y) / len(x)


class InitialMatrix:
    """A square Gaussian matrix of entry variance 1/n, known by what it did so far (conditioning)."""

    def __init__(self, space):
        self.space, self.forward, self.backward = space, [], []

    def _apply(self, x, mine, other):
        mean = self.space.mean
        out = sum((q * mean(g, x) for q, g in other), 0 * x)
        rest = x
        for _ in range(2):
            for p, z in mine:
                c = mean(p, rest)
                rest, out = rest - c * p, out + c * z
        norm = math.sqrt(mean(rest, rest))
        if norm > 1e-9 * (1e-30 + math.sqrt(mean(x, x))):
            mine.append((rest / norm, self.space.fresh()))
            out = out + norm * mine[-1][1]
        return out

    def __matmul__(self, x):
        return self._apply(x, self.forward, self.backward)

    def transposed(self, y):
        return self._apply(y, self.backward, self.forward)


class Matrix:
    """scale * initial + sum of c/n * outer(u, x); `initial` None is the zero matrix."""

    def __init__(self, space, initial=None, scale=1.0, terms=()):
        self.space, self.initial, self.scale, self.terms = space, initial, scale, list(terms)

    def __matmul__(self, x):
        start = self.scale * (self.initial @ x) if self.initial else 0 * x
        return sum((c * self.space.mean(p, x) * u for c, u, p in self.terms), start)

    def transposed(self, y):
        start = self.scale * self.initial.transposed(y) if self.initial else 0 * y
        return sum((c * self.space.mean(u, y) * p for c, u, p in self.terms), start)

    def scaled(self, s):
        return Matrix(self.space, self.initial, s * self.scale, [(s * c, u, p) for c, u, p in self.terms])

    def plus(self, c, u, p):
        return Matrix(self.space, self.initial, self.scale, [*self.terms, (c, u, p)])


def erf_chain(inputs, tied=True):
    """K6: Cov(h_i, h_j) = x_ij + E erf(h_{i-1}) erf(h_{j-1}); also the covariance of erf(h)."""
    size = len(inputs)
    h, e = np.zeros((size, size)), np.zeros((size, size))
    for i in range(size):
        for j in (i, *range(i)):
            shared = e[i - 1, j - 1] if i and j and (tied or i == j) else 0.0
            h[i, j] = h[j, i] = inputs[i][j] + shared
            e[i, j] = e[j, i] = 2 / math.pi * math.asin(2 * h[i, j] / math.sqrt((1 + 2 * h[i, i]) * (1 + 2 * h[j, j])))
    return h, e


def rnn(tied=True):
    h, e = erf_chain(RNN_GRAM, tied)
    return {"H": h, "E": e} if tied else {"H": h}


def rnn_constant():
    return {"H": erf_chain(np.ones((3, 3)))[0]}


def rnn_no_input():
    gram = np.zeros((6, 6))
    gram[0, 0] = 1
    return {"H": erf_chain(gram)[0]}


def relu_kernels(depth=5):
    """K4, K5: Sigma_0 the Gram matrix of the inputs; Sigma_l = 2 k1(Sigma_{l-1}) for the readout of layer l, and
    Theta_l = Sigma_l + 2 k0 Theta_{l-1}, with the arc-cosine kernels (TP II, Eq. 10-12)."""
    sigma = np.array(UNIT_VECTORS["X"]) @ np.transpose(UNIT_VECTORS["X"])
    theta, found = sigma.copy(), {"Sigma": [], "Theta": []}
    for _ in range(depth):
        angle = np.arccos(np.clip(sigma, -1, 1))
        np.fill_diagonal(angle, 0.0)
        sigma = (np.sin(angle) + (math.pi - angle) * np.cos(angle)) / math.pi
        theta = sigma + (math.pi - angle) / math.pi * theta
        found["Sigma"].append(sigma)
        found["Theta"].append(theta)
    return found


def rnn_kernels():
    """K6: Theta_{s,t} = E_{s,t} + E erf'(h_s) erf'(h_t) (x_{s,t} + Theta_{s-1,t-1}), because adjoints at different
    distances from the readout are uncorrelated (TP II, section 3)."""
    h, e = erf_chain(RNN_GRAM)
    theta = np.zeros((3, 3))
    for s in range(3):
        for t in range(3):
            slope = 4 / (math.pi * math.sqrt((1 + 2 * h[s, s]) * (1 + 2 * h[t, t]) - 4 * h[s, t] ** 2))
            before = theta[s - 1, t - 1] if s and t else 0.0
            theta[s, t] = e[s, t] + slope * (RNN_GRAM[s][t] + before)
    return {"Sigma": e, "Theta": theta}


def attention():
    """K11: A G A' with A the softmax of G."""
    gram = np.array(TOKENS["X"]) @ np.transpose(TOKENS["X"])
    weights = np.exp(gram)
    weights /= weights.sum(axis=1, keepdims=True)
    return {"gram": weights @ gram @ weights.T}


def pooled_convolution():
    """K12: uncorrelated pixels of variance 1, averaged: k1(1) = 1/2 on the diagonal, k1(0) = 1/(2 pi) off it; the
    first layer adds k0(1) = 1/2 on the diagonal."""
    size = len(PIXELS["X"])
    sigma = 1 / (2 * size) + (1 - 1 / size) / (2 * math.pi)
    return {"sigma": sigma, "theta": sigma + 1 / (2 * size)}


def layernorm():
    kernel = lambda c: (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / (2 * math.pi)
    k = [(kernel(c) - 1 / (2 * math.pi)) / (0.5 - 1 / (2 * math.pi)) for c in (0.5, 0.0, -0.5)]
    return {"m": 1 / math.sqrt(2 * math.pi), "variance": 0.5 - 1 / (2 * math.pi), "mean_y": 0, "norm_y": 1, "k": k}


def narayana(rho):
    def moment(k):
        return sum(rho**j * math.comb(k, j) * math.comb(k - 1, j) / (j + 1) for j in range(k)) if k else 1.0

    return [moment(k) for k in range(6)]


def wishart():
    return {"vz": 1, "zz": 2, "yy": 1, "catalan": narayana(1)}


def marchenko_pastur(rho):
    return {"mp": narayana(rho)}


def transpose_response():
    root = math.sqrt(2 / math.pi)
    tanh1, tanh2 = gaussian_mean(lambda z: 1 - math.tanh(z) ** 2), gaussian_mean(lambda z: math.tanh(z) ** 2)
    table = {"tanh": (tanh1, tanh2), "relu": (0.5, 0.5), "step": (root / 2, 0.5), "sign": (root, 1.0),
             "square": (0.0, 3.0), "cube": (3.0, 15.0)}
    return {f"{name}_{key}": value for name, (d, q) in table.items() for key, value in (("vq", d), ("qq", q + d * d))}


def gradient_independence():
    pair = {"dx_mean": 2, "dx_second": 8, "dxv_mean": 0, "dxv_second": 4}
    return pair | {"g_mean": 2, "g_second": 8, "gv_mean": 0, "gv_second": 4}


def onsager():
    f = lambda z: math.tanh(z + 0.5)
    slope = lambda z: 1 - f(z) ** 2
    v1 = gaussian_mean(lambda z: f(z) ** 2)
    mean1, b = gaussian_mean(f, v1), gaussian_mean(slope, v1)
    c12 = gaussian_mean(f) * mean1
    v2 = gaussian_mean(lambda z: f(z) ** 2, v1)
    return {"v1": v1, "v2": v2, "c12": c12, "dot": 0, "b": b, "plain_dot": b * v1}


def linear_mup(eta, steps):
    """K23 by Corollary 6.2 (TP IV)."""
    a, b, c, d = 1.0, 0.0, 0.0, 1.0
    f = []
    for _ in range(steps + 1):
        f.append(a * c + b * d)
        step = eta * (1 - f[-1])
        a, b, c, d = a + step * c, b + step * d, c + step * a, d + step * b
    return {"f": f}


def relu_mup():
    """K24: E (V + relu U) relu(U + V 1[U>0]), with U > 0, V > -U: integrate over the angle."""
    from scipy.integrate import quad

    radial = 2  # E of r^2 over the half line with weight r exp(-r^2/2)
    part = lambda t: (math.sin(t) + math.cos(t)) ** 2 if math.cos(t) + math.sin(t) > 0 else 0.0
    wedge = quad(part, -math.pi / 4, math.pi / 2, epsabs=1e-14)[0]
    return {"f": [0, radial * wedge / (2 * math.pi)]}


def smooth_mup(phi, slope, eta):
    """K25: E (V + eta phi(U)) phi(U + eta V phi'(U))."""
    value = gaussian_mean_2d(lambda u, v: (v + eta * phi(u)) * phi(u + eta * v * slope(u)), np.eye(2), 400)
    return {"f": [0, value]}


def tanh_slope(z):
    return 1 - np.tanh(z) ** 2


def erf_slope(z):
    return 2 / math.sqrt(math.pi) * np.exp(-z * z)


def linear_net(eta, steps, hidden=1, beta=0.0, decay=0.0, tied=False, extra=lambda *state: {}):
    """Linear networks in muP (K26 and variants), in exact coefficients: f = v (W_{L-1} ... W_0 u) / n."""
    space = Span()
    u, v = space.fresh(), space.fresh()
    first = [Matrix(space, InitialMatrix(space)) for _ in range(1 if tied else hidden)]
    W = first * hidden if tied else first
    M = [Matrix(space) for _ in W]
    f, h_norms, later = [], [], []
    for _ in range(steps + 1):
        h, dh = [u], [v]
        for A in W:
            h.append(A @ h[-1])
        for A in reversed(W):
            dh.append(A.transposed(dh[-1]))
        dh.reverse()
        f.append(space.mean(v, h[-1]))
        h_norms.append([space.mean(x, x) for x in h])
        chi = f[-1] - 1
        u, v = u - eta * chi * dh[0], v - eta * chi * h[-1]
        updates = [(chi, dh[l + 1], h[l]) for l in range(len(W))]
        if tied:
            for update in updates:
                W = [W[0].plus(-eta * update[0], *update[1:])] * hidden
        else:
            M = [m.scaled(beta).plus(*update) for m, update in zip(M, updates)]
            W = [A.scaled(1 - eta * decay) for A in W]
            for c in range(len(W)):
                for term in M[c].terms:
                    W[c] = W[c].plus(-eta * term[0], *term[1:])
        later.append([space.mean(x, x) for x in [W[0] @ u]])
    return f, h_norms, later, space, u, v, W, M


def linear_two_hidden(eta):
    a = eta
    return {"f": [0, 3 * a], "h1h1": 1 + 5 * a * a, "h1v": 2 * a}


def momentum_matrix():
    f, _, _, space, u, v, _, M = linear_net(0.1, 4, beta=0.9)
    return {"f": f, "vMu": space.mean(v, M[0] @ u)}


def momentum_vector(eta=0.1, beta=0.9, steps=6):
    u, v, mu, mv, f = np.array([1.0, 0]), np.array([0, 1.0]), np.zeros(2), np.zeros(2), []
    for _ in range(steps + 1):
        f.append(u @ v)
        mu, mv = beta * mu + (f[-1] - 1) * v, beta * mv + (f[-1] - 1) * u
        u, v = u - eta * mu, v - eta * mv
    return {"f": f, "uu": u @ u}


def tied_linear():
    return {"f": linear_net(0.2, 3, hidden=2, tied=True)[0]}


def weight_decay():
    f, _, later, *_ = linear_net(0.2, 4, decay=0.5)
    return {"f": f, "norm": [x for (x,) in later]}


def deep_linear(steps):
    f, norms, *_ = linear_net(0.1, steps, hidden=3)
    return {"f": f, "norm": norms}


def copy_diverges():
    space = Span()
    u, v = space.fresh(), space.fresh()
    W1 = W = Matrix(space, InitialMatrix(space))
    W = W.plus(-1, v, u)
    W1 = W1.scaled(2)
    a, b, c, d = W @ u, W1 @ u, W @ v, W1 @ v
    W1 = W1.plus(-1, b, v)
    e, r, s = W1 @ (u + v), W.transposed(a), W1.transposed(a)
    names = {"a": a, "b": b, "c": c, "d": d, "e": e, "r": r, "s": s, "u": u, "v": v}
    keys = "aa ab bb av cd cc dd ee ea rr rs ss ru su".split()
    return {key: space.mean(names[key[0]], names[key[1]]) for key in keys}


def word_embedding():
    data = WORD_DATA
    u, v, f = np.eye(6)[:3].copy(), np.eye(6)[3:].copy(), []
    for c, w, y in zip(data["ctx"], data["word"], data["y"]):
        f.append(u[c] @ v[w])
        chi = f[-1] - y
        u[c], v[w] = u[c] - 0.2 * chi * v[w], v[w] - 0.2 * chi * u[c]
    return {"f": f, "score": u @ v.T, "uu": u @ u.T}


def comprehensions():
    cdf = lambda z: math.erfc(-z / math.sqrt(2)) / 2
    e_max = 3 * gaussian_mean(lambda z: z * cdf(z) ** 2)
    e_max2 = 3 * gaussian_mean(lambda z: z * z * cdf(z) ** 2)
    e_maxmin = 6 * order_product()
    return {"e_max": e_max, "e_max2": e_max2, "e_min": -e_max, "e_maxmin": e_maxmin, "e_prod": 1, "e_sum2": 3,
            "e_mean2": 1 / 3, "e_pairs2": 3, "s_max": 5, "s_min": 1, "s_prod": 10, "s_sum": 6}


def order_product():
    """E over x < y of x y (Phi(y) - Phi(x)): max times min of three normals, per ordering of the two extremes."""
    from scipy.integrate import dblquad

    cdf = lambda z: math.erfc(-z / math.sqrt(2)) / 2
    pdf = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return dblquad(lambda x, y: x * y * pdf(x) * pdf(y) * (cdf(y) - cdf(x)), -9, 9, -9, lambda y: y, epsabs=1e-11)[0]


def if_blocks():
    space = Span()
    u = x = space.fresh()
    W = InitialMatrix(space)
    norm, along = [], []
    for t in range(5):
        if t == 0:
            x = W @ x
        elif t % 2 == 0:
            x = W.transposed(x)
        else:
            x = 0.5 * x + (2 if t == 1 else -1) * u
        norm.append(space.mean(x, x))
        along.append(space.mean(x, u))
    return {"norm": norm, "along": along}


def backward_loop():
    q, slopes = [1.0], []
    for _ in range(4):
        slopes.append(gaussian_mean(lambda z: (1 - math.tanh(z) ** 2) ** 2, q[-1]))
        q.append(2 * gaussian_mean(lambda z: math.tanh(z) ** 2, q[-1]))
    p = [1.0]
    for slope in reversed(slopes):
        p.insert(0, 2 * p[0] * slope)
    return {"forward": q, "backward": p, "automatic": p, "mixed": p}


def functions():
    square = lambda q: 2 * gaussian_mean(lambda z: math.tanh(z) ** 2, q)
    q1 = square(1.0)
    aa = square(q1)
    product = lambda x, y: np.tanh(x) * np.tanh(y)
    c1 = 2 * gaussian_mean_2d(product, [[1, 0.6], [0.6, 1]])
    ac = 2 * gaussian_mean_2d(product, [[q1, c1], [c1, q1]])
    return {"aa": aa, "bb": square(aa), "ac": ac, "ab": 0, "same": 1}


def user_derivative():
    s = lambda u: 1 / (1 + math.exp(-u))
    s1 = lambda u: s(u) * (1 - s(u))
    p1 = lambda u: s(u) + u * s1(u)
    p2 = lambda u: 2 * s1(u) + u * s1(u) * (1 - 2 * s(u))
    t = math.tanh
    q1 = lambda u: 2 * t(u) * (1 - t(u) ** 2) + 1.5 * u * u
    q2 = lambda u: 2 * (1 - t(u) ** 2) * (1 - 3 * t(u) ** 2) + 3 * u
    mean = gaussian_mean
    return {"p0": mean(lambda u: u * s(u)), "p1": mean(p1), "p2": mean(p2), "p11": mean(lambda u: p1(u) ** 2),
            "q0": mean(lambda u: t(u) ** 2 + 0.5 * u**3), "q1": mean(q1), "q2": mean(q2),
            "q11": mean(lambda u: q1(u) ** 2), "stein": mean(p1)}


def initial_laws():
    uniform = [(3.0 ** (p + 1) - (-1.0) ** (p + 1)) / (4 * (p + 1)) for p in (1, 2, 3, 4)]
    return {"ma": [0.5, 2.25, 0.5**3 + 3 * 0.5 * 2, 0.5**4 + 6 * 0.25 * 2 + 12], "mb": [0, 1, 0, 1], "mc": uniform,
            "md": [0.3] * 4, "ms": [0, 1, 0, 12], "mk": [1.5, 2.25, 3.375, 5.0625], "ac": 0.5, "bdk": 0.45,
            "s_abs": 0.5 * math.sqrt(2 / math.pi)}


def tied_rectangular(rho=2.0):
    b, q = gaussian_mean(lambda z: 1 - math.tanh(z) ** 2), gaussian_mean(lambda z: math.tanh(z) ** 2)
    rr = rho * q + (rho * b) ** 2
    return {"hh": 1, "xr": rho * b, "rr": rr, "hk": rho * b + b, "kt": rho * b * b + q, "kk": rr + q + 2 * rho * b * b}


def one_hidden_tanh(eta=0.3, steps=10, nodes=96):
    """Gradient flow of the mean field on a Gauss-Hermite grid: inputs in 2 dimensions, 3 Gaussians."""
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    weight = (w[:, None, None] * w[:, None] * w).ravel()
    u1, u2, v = (g.ravel() for g in np.meshgrid(x / math.sqrt(2), x / math.sqrt(2), x, indexing="ij"))
    X, y = np.array(SMALL_BATCH["X"]), SMALL_BATCH["y"]
    U, f, loss = np.stack([u1, u2]), [], []
    for _ in range(steps + 1):
        a = np.tanh(X @ U)
        f.append(a @ (weight * v))
        chi = (f[-1] - y) / len(y)
        loss.append(float(np.mean((f[-1] - y) ** 2) / 2))
        dU, dv = X.T @ (chi[:, None] * v * (1 - a * a)), chi @ a
        U, v = U - eta * dU, v - eta * dv
    return {"f": (np.array(f), 1e-6), "loss": (loss, 1e-6)}


def two_hidden_net(space, phi, slope, X, y, eta, steps, variance, curvature=None):
    """Two hidden layers in muP by the master theorem on particles, backpropagation by hand."""
    mean = space.mean
    U = [math.sqrt(variance) * space.fresh() for _ in X[0]]
    v = space.fresh()
    W0 = InitialMatrix(space)
    W = Matrix(space, W0)
    out = {"f": [], "loss": [], "back": [], "response": []}
    for _ in range(steps + 1):
        h1 = [sum(c * u for c, u in zip(xi, U)) for xi in X]
        x1 = [phi(h) for h in h1]
        h2 = [W @ x for x in x1]
        x2 = [phi(h) for h in h2]
        f = np.array([mean(v, x) for x in x2])
        dh2 = [v * slope(h) for h in h2]
        out["f"].append(f)
        out["loss"].append(float(np.mean((f - y) ** 2) / 2))
        if curvature:
            out["back"].append(mean(x1[0], W0.transposed(dh2[0])))
            out["response"].append(mean(v, curvature(h2[0])))
        chi = (f - y) / len(y)
        dh1 = [W.transposed(d) * slope(h) for d, h in zip(dh2, h1)]
        U = [u - eta * sum(c * xi[i] * d for c, xi, d in zip(chi, X, dh1)) for i, u in enumerate(U)]
        v = v - eta * sum(c * x for c, x in zip(chi, x2))
        for c, d, x in zip(chi, dh2, x1):
            W = W.plus(-eta * c, d, x)
    return out


def tanh_curvature(z):
    t = np.tanh(z)
    return -2 * t * (1 - t * t)


def replicated(run, keys, replicates, log2_samples, dimension):
    """Mean over independent scramblings, and three standard errors as the tolerance."""
    runs = [run(Particles(log2_samples, dimension, seed)) for seed in range(replicates)]
    result = {}
    for key in keys:
        values = np.array([np.array(r[key]) for r in runs])
        result[key] = (values.mean(0), float(3 * values.std(0, ddof=1).max() / math.sqrt(replicates)))
    return result


def tanh_two_hidden(eta, steps, replicates=8, log2_samples=18):
    def run(space):
        out = two_hidden_net(space, np.tanh, tanh_slope, [[1.0]], [1.0], eta, steps, 1.0, tanh_curvature)
        return out | {"f": [float(x[0]) for x in out["f"]]}

    return replicated(run, ("f", "back", "response"), replicates, log2_samples, 4 * steps + 8)


def relu_two_hidden(replicates=8, log2_samples=18):
    def run(space):
        out = two_hidden_net(space, lambda h: np.maximum(h, 0), lambda h: (h > 0) * 1.0, [[1.0]], [1.0], 1.0, 1, 1.0)
        return {"f": [float(x[0]) for x in out["f"]]}

    return replicated(run, ("f",), replicates, log2_samples, 12)


def two_hidden_tanh(replicates=8, log2_samples=17):
    X, y = SMALL_BATCH["X"], np.array(SMALL_BATCH["y"])
    run = lambda space: two_hidden_net(space, np.tanh, tanh_slope, X, y, 0.2, 4, 0.5)
    return replicated(run, ("f", "loss"), replicates, log2_samples, 32)


def lasso_amp(alpha=1.5, steps=10, delta=0.64, rho=0.128, noise=0.2):
    """State evolution of soft thresholding, by quadrature."""
    tau2, mse, active = [], [rho], []
    for _ in range(steps):
        tau2.append(noise + mse[-1] / delta)
        tau = math.sqrt(tau2[-1])
        theta = alpha * tau
        soft = lambda x: math.copysign(max(abs(x) - theta, 0.0), x)
        null = gaussian_mean(lambda z: soft(z) ** 2, tau2[-1], (-theta, theta))
        spike = gaussian_mean(lambda z: (soft(1 + z) - 1) ** 2, tau2[-1], (-theta - 1, theta - 1))
        mse.append((1 - rho) * null + rho * spike)
        tail = lambda x: math.erfc(x / (tau * math.sqrt(2))) / 2
        active.append((1 - rho) * 2 * tail(theta) + rho * (tail(theta - 1) + tail(theta + 1)))
    return {"tau2": tau2, "mse": mse, "active_part": active}


def z2_amp(lam=1.5, gamma=0.1, steps=7):
    gammas, overlap = [gamma], []
    for _ in range(steps):
        g = gammas[-1]
        overlap.append(gaussian_mean(lambda z: math.tanh(g + z), g))
        gammas.append(lam**2 * overlap[-1])
    return {"gamma": gammas, "overlap": overlap, "square_norm": overlap}
