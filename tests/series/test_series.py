"""The kernel regime and limits that are random: against kernel gradient descent, closed forms and networks."""

import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner

import tensorprog
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.series.parts import DEPTH, MAX_APART, Series, SeriesPart, merged, product, through

X = np.array([[1, 0, 1.0], [0, 1, 1], [1, 1, 0], [0.5, -1, 1]])
Y = np.array([1, -1, 1, -1.0])
DATA = {"X": X, "y": Y}

HEAD = "width n\nsize P, d\nparam eta = 1.0\nparam T : int = 6\ninput X : [P, d]\ninput y : [P]\n"
TWO_LAYERS = """\
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(xi):
    return dot(v, tanh(W @ tanh(U @ xi) / sqrt(n))) / sqrt(n)
"""
# The same network with variances as PyTorch has them, trained at rates that keep its kernel of order one.
STANDARD = """\
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1/n)
def net(xi):
    return dot(v, tanh(W @ tanh(U @ xi)))
"""
# The readout's variance in front of it.
SCALED = TWO_LAYERS.replace("v : [n] ~ normal(0, 1)", "v : [n] ~ normal(0, 1/n**2)").replace(
    ")) / sqrt(n)\n", ")) * sqrt(n)\n")
KERNELS = """\
for a in range(P):
    g[a] = net(X[a])
for a in range(P):
    for b in range(P):
        K[a, b] = %s
        C[a, b] = cov(g[a], g[b])
output K, C
"""


def trained(rates):
    """The training loop, with a learning rate for each object."""
    steps = "".join(f"    {name} -= {rate} * grad(loss, {name})\n" for name, rate in rates.items())
    return f"""\
for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
{steps}output f
"""


def kernel_gradient_descent(kernel, covariance, steps, eta=1.0):
    """Mean and covariance of f[t] for f' = -eta/P K (f - y) (Lee et al. 2019, section 2.2, in discrete time)."""
    mean, slope = np.zeros(len(Y)), np.eye(len(Y))
    means, covariances = [], []
    for _ in range(steps):
        means.append(mean)
        covariances.append(slope @ covariance @ slope.T)
        mean, slope = mean - eta / len(Y) * kernel @ (mean - Y), slope - eta / len(Y) * kernel @ slope
    return np.array(means), np.array(covariances)


RATES = dict.fromkeys("UWv", "eta")
PARAMETRIZATIONS = {
    "ntk": (TWO_LAYERS, RATES, "ntk(g[a], g[b]; U, W, v)"),
    # f moves by 1/n where the readout has entries n**(-1/2), and its own kernel is n times as large.
    "standard": (STANDARD, {"U": "eta", "W": "eta/n", "v": "eta/n"}, "ntk(g[a], g[b]; U) + ntk(g[a], g[b]; W, v)/n"),
    "readout scaled": (SCALED, {"U": "eta", "W": "eta", "v": "eta/n**2"}, "ntk(g[a], g[b]; U, W) + ntk(g[a], g[b]; v)/n**2"),
}


def require_kernel_gradient_descent(network, rates, kernel, tolerance=1e-8, **options):
    kernels = tensorprog.compile(HEAD + network + KERNELS % kernel).run(DATA)
    result = tensorprog.compile(HEAD + network + trained(rates)).run(DATA, **options)
    means, covariances = kernel_gradient_descent(kernels["K"], kernels["C"], 6)
    spread = result.spread["f"]
    assert spread.gaussian
    np.testing.assert_array_less(np.abs(result["f"] - means), 5 * result.error["f"] + tolerance)
    variances = np.array([np.diag(c) for c in covariances])
    np.testing.assert_array_less(np.abs(spread.variance - variances), 5 * spread.variance_error + tolerance)
    np.testing.assert_allclose(spread.covariance[0, :, 0, :], kernels["C"], rtol=1e-9, atol=1e-9)
    return result


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_training_is_kernel_gradient_descent(name):
    result = require_kernel_gradient_descent(*PARAMETRIZATIONS[name])
    assert result.method["f"] == "covariance" and result.error["f"].max() < 1e-9


EXACT = {
    "one hidden layer": ("matrix U : [n, d] ~ normal(0, 1/d)\nvector v : [n] ~ normal(0, 1)\ndef net(xi):\n"
                         "    return dot(v, relu(U @ xi)) / sqrt(n)\n", "U, v"),
    "recurrent, in a loop": ("matrix U : [n, d] ~ normal(0, 1/d)\nmatrix W : [n, n] ~ normal(0, 1)\n"
                             "vector v : [n] ~ normal(0, 1)\ndef net(xi):\n    h[0] = U @ xi\n    for s in range(2):\n"
                             "        h[s+1] = W @ relu(h[s]) / sqrt(n) + U @ xi\n"
                             "    return dot(v, relu(h[2])) / sqrt(n)\n", "U, W, v"),
    "recurrent, written out": ("matrix U : [n, d] ~ normal(0, 1/d)\nmatrix W : [n, n] ~ normal(0, 1)\n"
                               "vector v : [n] ~ normal(0, 1)\ndef net(xi):\n    h = U @ xi\n"
                               "    g = W @ erf(h) / sqrt(n) + U @ xi\n    k = W @ erf(g) / sqrt(n) + U @ xi\n"
                               "    return dot(v, erf(k)) / sqrt(n)\n", "U, W, v"),
    "three layers": ("matrix U : [n, d] ~ normal(0, 1/d)\nmatrix W : [n, n] ~ normal(0, 1)\n"
                     "matrix Z : [n, n] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\ndef net(xi):\n"
                     "    return dot(v, erf(Z @ erf(W @ erf(U @ xi) / sqrt(n)) / sqrt(n))) / sqrt(n)\n", "U, W, Z, v"),
}


SLOW = ("recurrent, in a loop", "recurrent, written out", "residual", "layernorm")


def quick_and_slow(names):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names]


@pytest.mark.parametrize("name", quick_and_slow(EXACT))
def test_kernel_regime_is_exact_by_covariance(name):
    network, objects = EXACT[name]
    rates = dict.fromkeys(objects.split(", "), "eta")
    result = require_kernel_gradient_descent(network, rates, f"ntk(g[a], g[b]; {objects})")
    assert result.method["f"] == "covariance" and result.error["f"].max() < 1e-9


@pytest.mark.slow
def test_families_of_matrices_in_a_loop_are_exact():
    network = ("matrix U : [n, d] ~ normal(0, 1/d)\nmatrix W[2] : [n, n] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\n"
               "def net(xi):\n    h = relu(U @ xi)\n    for l in range(2):\n        h = relu(W[l] @ h / sqrt(n))\n"
               "    return dot(v, h) / sqrt(n)\n")
    text = trained({"U": "eta", "v": "eta"}).replace(
        "output", "    for l in range(2):\n        W[l] -= eta * grad(loss, W[l])\noutput")
    kernels = tensorprog.compile(HEAD + network + KERNELS % "ntk(g[a], g[b]; U, W, v)").run(DATA)
    result = tensorprog.compile(HEAD + network + text).run(DATA)
    means, _ = kernel_gradient_descent(kernels["K"], kernels["C"], 6)
    assert result.method["f"] == "covariance"
    np.testing.assert_allclose(result["f"], means, atol=1e-9)


def test_particles_agree_with_kernel_gradient_descent():
    require_kernel_gradient_descent(*PARAMETRIZATIONS["ntk"], tolerance=1e-6, method="particles", samples=1024)


def test_draws_have_the_mean_and_covariance():
    result = tensorprog.compile(HEAD + TWO_LAYERS + trained(RATES)).run(DATA, samples=256, replicates=2, draws=4000, T=2)
    drawn, spread = result.draws["f"], result.spread["f"]
    assert drawn.shape == (4000, 2, 4)
    error = spread.deviation / np.sqrt(4000)
    assert (np.abs(drawn.mean(axis=0) - result["f"]) < 5 * error).all()
    np.testing.assert_allclose(np.cov(drawn.reshape(4000, 8).T), spread.covariance.reshape(8, 8), atol=0.05)


def test_draws_of_all_outputs_belong_together():
    program = tensorprog.compile(HEAD + TWO_LAYERS + trained(RATES) + "output f[T-1, 0] - f[0, 0] as moved\n"
                                 "output f[0, 1]**2 as square\n")
    result = program.run(DATA, samples=256, replicates=2, draws=5, T=3)
    f = result.draws["f"]
    np.testing.assert_allclose(result.draws["moved"], f[:, 2, 0] - f[:, 0, 0], atol=1e-12)
    np.testing.assert_allclose(result.draws["square"], f[:, 0, 1] ** 2, atol=1e-12)
    assert not result.spread["square"].gaussian
    assert abs(result["square"] - result.spread["f"].variance[0, 1]) < 4 * result.error["square"]


READOUT = """\
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ {law}
for a in range(P):
    f[a] = dot(v, relu(U @ X[a])) / {scale}
"""


@pytest.mark.parametrize("law, scale", [("normal(0, 1)", "sqrt(n)"), ("normal(0, 1/n)", "1"), ("rademacher()", "n**(1/2)"),
                                        ("uniform(-sqrt(3), sqrt(3))", "sqrt(n)"), ("normal(0, n**2)", "n**(3/2)")])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_readout_at_initialization_is_gaussian(law, scale, size):
    """Covariance: the arc-cosine kernel of degree 1 (Cho and Saul 2009, equation 6)."""
    result = tensorprog.compile(READOUT.format(law=law, scale=scale) + "output f\n").run({"X": size * X})
    norms = np.linalg.norm(X, axis=1)
    angle = np.arccos(np.clip(X @ X.T / np.outer(norms, norms), -1, 1))
    expected = np.outer(norms, norms) / (6 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    assert result.method["f"] != "particles"
    np.testing.assert_array_equal(result["f"], 0)
    np.testing.assert_allclose(result.spread["f"].covariance, size**2 * expected, rtol=1e-9, atol=1e-12 * size**2)


def test_what_networks_do_not_share_is_random_and_the_rest_is_not():
    text = READOUT.format(law="normal(0, 1)", scale="sqrt(n)") + "output f, moment(relu(U @ X[0])**2) as second\n"
    result = tensorprog.compile(text).run({"X": X})
    assert set(result.spread) == {"f"}
    assert result["second"] == pytest.approx(X[0] @ X[0] / 6)


NETWORKS = {
    "momentum": """\
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
matrix M : [n, d] = 0
m = 0*v
for t in range(T):
    for a in range(P):
        f[t, a] = dot(v, tanh(U @ X[a])) / sqrt(n)
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    M = 0.7*M + grad(loss, U)
    m = 0.7*m + grad(loss, v)
    U -= eta * M
    v -= eta * m
output f
""",
    "layernorm": """\
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(xi):
    h = W @ relu(U @ xi) / sqrt(n)
    z = (h - moment(h)) / sqrt(moment((h - moment(h))**2) + 0.01)
    return dot(v, tanh(z)) / sqrt(n)
""" + trained(RATES),
    "recurrent": """\
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(xi):
    h[0] = U @ xi
    for s in range(2):
        h[s+1] = tanh(W @ tanh(h[s]) / sqrt(n) + U @ xi)
    return dot(v, h[2]) / sqrt(n)
""" + trained(RATES),
    "residual": """\
size L = 2
matrix U : [n, d] ~ normal(0, 1/d)
matrix W[L] : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(xi):
    x = U @ xi
    for l in range(L):
        x += 0.5 * W[l] @ tanh(x) / sqrt(n)
    return dot(v, x) / sqrt(n)
""" + trained({"U": "eta", "v": "eta"}).replace("output", "    for l in range(L):\n        W[l] -= eta * grad(loss, W[l])\n"
                                                        "output"),
    "weight decay and minibatches": """\
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        f[t, a] = dot(v, erf(U @ X[a])) / sqrt(n)
    loss = (f[t, t % P] - y[t % P])**2 / 2
    U -= eta * grad(loss, U)
    v = 0.9*v - eta * grad(loss, v)
output f
""",
}


@pytest.mark.parametrize("name", quick_and_slow(sorted(set(NETWORKS) - {"residual"})))
def test_numbers_say_what_vectors_say(name, monkeypatch):
    """Training as equations between numbers, beside training with vectors on the same particles."""
    from tensorprog.series import build

    options = {"samples": 64, "replicates": 2, "method": "particles", "T": 3, "eta": 0.5}
    numbers = tensorprog.compile(HEAD + NETWORKS[name]).run(DATA, **options)
    monkeypatch.setattr(build, "superposed", lambda program, env: (program, frozenset(), ""))
    monkeypatch.setenv("TENSORPROG_NO_CACHE", "1")
    vectors = tensorprog.compile(HEAD + NETWORKS[name] + "# with vectors\n").run(DATA, **options)
    spread = vectors.spread["f"].deviation.max()
    np.testing.assert_allclose(numbers["f"], vectors["f"], atol=0.05 * spread + 5 * vectors.error["f"].max())


@pytest.mark.parametrize("name", quick_and_slow(NETWORKS))
def test_networks_have_the_mean_of_the_limit(name):
    """One width, many networks: their mean is that of the limit up to 1/n."""
    program = tensorprog.compile(HEAD + NETWORKS[name])
    settings = {"T": 3, "eta": 0.5}
    limit = program.run(DATA, samples=512, replicates=4, **settings)
    networks = program.simulate(DATA, width=128, seeds=200, **settings)
    error = np.hypot(limit.error["f"], networks.error["f"]) + 1 / 128
    assert (np.abs(limit["f"] - networks["f"]) < 4.5 * error).all()
    variances, spread = networks.samples["f"].var(axis=0), limit.spread["f"].variance
    assert (np.abs(variances - spread) < 5 * np.sqrt(2 / 200) * variances + 3 / 128).all()


def test_between_regimes_there_is_a_kernel_without_randomness():
    """With r = 1/4 the output at initialization vanishes, and training is kernel gradient descent from zero."""
    network = HEAD + "matrix U : [n, d] ~ normal(0, 1/d)\nvector v : [n] ~ normal(0, 1)\ndef net(xi):\n" \
                     "    return dot(v, erf(U @ xi)) / n**%s\n"
    text = network % "(3/4)" + trained({"U": "eta * sqrt(n)", "v": "eta * n**(1/2)"})
    result = tensorprog.compile(text).run(DATA)
    kernels = tensorprog.compile(network % "(1/2)" + KERNELS % "ntk(g[a], g[b]; U, v)").run(DATA)
    means, _ = kernel_gradient_descent(kernels["K"], 0 * kernels["C"], 6)
    assert not result.spread
    np.testing.assert_allclose(result["f"], means, atol=4 * result.error["f"].max() + 1e-8)


def test_exponents_are_those_of_the_run():
    """What the power of a parameter is, decides whether the limit is random."""
    text = READOUT.format(law="normal(0, 1)", scale="n**c").replace("input X", "param c = 0.5\ninput X") + "output f\n"
    program = tensorprog.compile(text)
    assert "f" in program.run({"X": X}).spread
    later = program.run({"X": X}, c=0.75)
    assert not later.spread and not later["f"].any()
    assert "f" in program.run({"X": X}, c=0.5).spread


def test_losses_that_are_not_squares():
    text = """\
width n
size P, d
size K = 3
param T : int = 3
input X : [P, d]
input label : [P] int
matrix U : [n, d] ~ normal(0, 1/d)
matrix V : [K, n] ~ normal(0, 1)
for t in range(T):
    for a in range(P):
        f[t, a] = V @ relu(U @ X[a]) / sqrt(n)
    loss[t] = mean(cross_entropy(f[t, a], label[a]) for a in range(P))
    U -= grad(loss[t], U)
    V -= grad(loss[t], V)
output loss
"""
    data = {"X": X, "label": np.array([0, 1, 2, 1])}
    program = tensorprog.compile(text)
    limit = program.run(data, samples=256, replicates=2)
    networks = program.simulate(data, width=256, seeds=100)
    assert not limit.spread["loss"].gaussian
    assert (np.abs(limit["loss"] - networks["loss"]) < 4 * np.hypot(limit.error["loss"], networks.error["loss"])).all()


def test_terms_that_cancel_leave_the_next():
    text = "width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\n" \
           "x = v + W @ v / sqrt(n)\ny = x - v\noutput n*moment(y*y) as left\n"
    result = tensorprog.compile(text).run()
    assert result["left"] == pytest.approx(1)


def test_verification_compares_means_and_covariances():
    program = tensorprog.compile(HEAD + NETWORKS["momentum"])
    found = program.verify(DATA, widths=(32, 64, 128, 256), seeds=60, samples=256, replicates=4, T=2)
    assert found.passed and set(found.findings) == {"f", "covariance of f"}
    wrong = tensorprog.compile(HEAD + NETWORKS["momentum"].replace("f[t, a] = dot(v, tanh", "f[t, a] = dot(1.5*v, tanh"))
    from tensorprog.verify.verify import judge

    networks = [wrong.simulate(DATA, width=width, seeds=60, seed=width, T=2) for width in (32, 64, 128, 256)]
    limit = program.run(DATA, samples=256, replicates=4, T=2)
    assert judge(limit, networks).findings["covariance of f"].verdict == "differs"


def test_command_line_writes_draws(tmp_path):
    path = tmp_path / "random.tp"
    path.write_text(READOUT.format(law="normal(0, 1)", scale="sqrt(n)") + "output f\n", encoding="utf-8")
    np.savez(tmp_path / "data.npz", X=X)
    call = ["run", str(path), str(tmp_path / "data.npz"), "--draws", "7", "-o", str(tmp_path / "out.npz")]
    shown = CliRunner().invoke(main, call)
    assert shown.exit_code == 0 and "Gaussian over networks" in shown.output
    with np.load(tmp_path / "out.npz") as saved:
        assert saved["f.draws"].shape == (7, 4)
        factor = saved["f.factor"]
    described = json.loads(CliRunner().invoke(main, [*call, "--json"]).stdout)["results"]["f"]["random"]
    np.testing.assert_allclose(described["covariance"], factor.T @ factor, atol=1e-12)
    assert CliRunner().invoke(main, [*call[:4], "-1"]).exit_code == 2


def test_updates_too_small_for_any_output_are_said():
    text = HEAD + TWO_LAYERS + trained({"U": "eta/n", "W": "eta", "v": "eta"})
    said = [w for w in tensorprog.compile(text).run(DATA, samples=64, replicates=2, T=2).warnings if w.code == "TP509"]
    assert len(said) == 1 and "`U`" in said[0].message


@pytest.mark.parametrize("rate, code", [("eta * n", "TP504"), ("eta * sqrt(n)", "TP504")])
def test_updates_too_large_are_refused(rate, code):
    with pytest.raises(ProgramError) as refused:
        tensorprog.compile(HEAD + TWO_LAYERS + trained({"U": rate, "W": "eta", "v": "eta"})).compiled
    assert refused.value.diagnostics[0].code in (code, "TP501", "TP502")


# --- parts ---------------------------------------------------------------------------------------------------


def part(power, odd=0, unsure=0):
    return SeriesPart(Fraction(power), odd, unsure)


def test_parts_multiply_and_add():
    assert product([part("1/2", 0b01), part(-1, 0b11, 0b100)]) == part("-1/2", 0b10, 0b100)
    assert merged([part(0, 0b01), part(0, 0b11)]) == part(0, 0b01, 0b10)
    assert through(part(0, 0b11), "none") == part(0, 0, 0b11)
    assert through(part(0, 0b11), "even") == part(0)
    assert part(0, 0b1).vanishes_on_average and not part(0, 0, 0b1).vanishes_on_average


def test_a_series_keeps_what_matters():
    series = Series()
    assert series.add(part(0, 1)) and not series.add(part(0, 1))
    assert not series.add(part(-DEPTH - 1)) and series.add(part(1)) and series.top == 1
    assert series.home(part(0, 1)) == part(0, 1) and series.home(part(0, 2)) is None
    for odd in range(2, 2 + MAX_APART):
        series.add(part(0, odd))
    assert len(series.at(Fraction(0))) == 1 and series.home(part(0, 1)) == series.at(Fraction(0))[0]
