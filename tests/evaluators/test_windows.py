"""Training in windows of steps: the pass on typed programs, at finite widths and by itself, and what particles make of it."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import tensorprog
from tensorprog.cli import main
from tensorprog.diagnostics import Reporter
from tensorprog.evaluators import windows
from tensorprog.finite import simulate
from tensorprog.ir.verify import verify
from tensorprog.passes.windows import with_windows
from tensorprog.pipeline import differentiated

HEAD = """
width n
size P, d, T
param eta = 0.3
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
"""
#: With companions of states.
HEAVY = HEAD + """
matrix MU : [n, d] = 0
matrix MW : [n, n] = 0
vector mv : [n] = 0
"""

#: A training loop, in several forms: families and what is not kept, averages inside of sums, functions, losses.
FORMS = {
    "family": """
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    U -= eta * n * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
    v -= eta * n * grad(loss[t], v)
output f, loss
""",
    "average in a sum": """
def net(x):
    h = tanh(U @ x)
    return moment(v * (h + tanh(W @ h)))

for t in range(T):
    loss = sum((net(X[a]) - y[a])**2 for a in range(P)) / (2*P)
    history[t] = loss
    W -= (eta / 2) * grad(loss, W) * 2
    v += -n * eta * grad(loss, v)
output history
""",
    "another loss, and numbers that are carried": """
smooth = 0
for t in range(T):
    for a in range(P):
        x[a] = relu(W @ tanh(U @ X[a]))
        f[a] = moment(v * x[a])
    loss = mean(log(1 + exp(-y[a] * f[a])) for a in range(P)) + t * sum(f[a]**2 for a in range(P)) / 1000
    smooth = 0.9*smooth + 0.1*loss
    history[t] = smooth
    U -= 2 * eta * n * grad(loss, U)
    v -= eta * n * grad(loss, v)
    W -= eta * grad(loss, W)
output history, smooth
""",
    "what is only looked at": """
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P)) / 2
    for a in range(P):
        test[t, a] = moment(v * tanh(W @ tanh(U @ X[a] / 2)))
    U -= eta * n * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
    v -= eta * n * grad(loss[t], v)
output loss, test
""",
    "two averages": """
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    norm = moment(v**2)
    loss[t] = mean((f[a] - y[a])**2 for a in range(P)) / 2 + 0.1*(norm - 1)**2
    W -= eta * grad(loss[t], W)
    v -= eta * n * grad(loss[t], v)
output loss
""",
}

#: The same with updates that do more than add gradients at a fixed rate.
MOVING = {
    "momentum": """
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    MU = 0.9*MU + n * grad(loss[t], U)
    MW = 0.9*MW + grad(loss[t], W)
    mv = 0.9*mv + n * grad(loss[t], v)
    U -= eta/4 * MU
    W -= eta/4 * MW
    v -= eta/4 * mv
output f, loss
""",
    "Nesterov, with names of its own": """
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    G = grad(loss[t], W)
    MW = 0.8*MW + G
    W = W - eta/4 * (G + 0.8*MW)
    g = n*grad(loss[t], v)
    change = 0.8*mv - (eta/4)*g
    mv = change
    v = v + 0.8*change - g*eta/4
output f
""",
    "decay of two kinds": """
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P)) / 2
    v -= eta * (n*grad(loss[t], v) + 0.1*v)
    W = (1 - 0.2*eta)*W
    W -= eta * grad(loss[t], W)
    U -= eta * n * grad(loss[t], U)
for a in range(P):
    for c in range(P):
        K[a, c] = moment(tanh(W @ tanh(U @ X[a])) * tanh(W @ tanh(U @ X[c])))
output loss, K
""",
    "momentum and decoupled decay": """
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P)) / 2
    W *= 1 - 0.2*eta
    MW = 0.9*MW + 0.1*grad(loss[t], W)
    W -= eta*MW
    MU = 0.9*MU + 0.1*n*(grad(loss[t], U) + 0.05/n*U)
    U -= eta*MU
    v -= eta * n*grad(loss[t], v)
output loss
""",
    "schedule": """
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P)) / 2
    rate = eta * min(1, (t + 1)/5) / (1 + loss[t]/10)
    W -= rate * grad(loss[t], W)
    v -= rate * n * grad(loss[t], v)
    U -= eta / (1 + t/10) * n * grad(loss[t], U)
output loss
""",
    "an average of the weights": """
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P)) / 2
    v -= eta * n*grad(loss[t], v)
    W -= eta * grad(loss[t], W)
    mv = 0.9*mv + 0.1*v
for a in range(P):
    smooth[a] = moment(mv * tanh(W @ tanh(U @ X[a])))
output loss, smooth
""",
    "minibatches": """
for t in range(T):
    for b in range(3):
        f[t, b] = moment(v * tanh(W @ tanh(U @ X[(3*t + b) % P])))
    loss[t] = mean((f[t, b] - y[(3*t + b) % P])**2 for b in range(3)) / 2
    U -= eta * n * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
    v -= eta * n * grad(loss[t], v)
output f, loss
""",
    "one row in a step, with momentum": """
def net(x):
    return moment(v * tanh(W @ tanh(U @ x)))

for t in range(T):
    r = net(X[t % P]) - y[t % P]
    loss = r**2 / 2
    history[t] = loss
    MW = 0.5*MW + grad(loss, W)
    W -= eta/2 * MW
    v -= eta/2 * n * grad(loss, v)
    U -= eta/2 * n * grad(loss, U)
output history
""",
}

WIDE = """
width n
width m = 2*n
size P, d, C, L, T
param eta = 0.2
input X : [P, d]
input Y : [P, C]
matrix U : [n, d] ~ normal(0, 1/d)
matrix A : [m, n] ~ normal(0, 1/n)
matrix W[L] : [m, m] ~ normal(0, 1/m)
vector b[L] : [m] ~ normal(0, 0.1)
vector v[C] : [m] ~ normal(0, 1)

for t in range(T):
    for a in range(P):
        h = tanh(A @ tanh(U @ X[a]))
        for l in range(L):
            h = h + tanh(W[l] @ h + b[l]) / 2
        for c in range(C):
            f[a, c] = moment(v[c] * h)
    loss[t] = sum(sum((f[a, c] - Y[a, c])**2 for a in range(P)) for c in range(C)) / P
    U -= eta * n * grad(loss[t], U)
    A -= eta * grad(loss[t], A)
    for l in range(L):
        W[l] -= eta * grad(loss[t], W[l])
        b[l] -= eta * n * grad(loss[t], b[l])
    for c in range(C):
        v[c] -= eta * n * grad(loss[t], v[c])
output loss, f
"""


def points(count: int = 4, dimension: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {"X": rng.normal(size=(count, dimension)), "y": np.sign(rng.normal(size=count))}


@functools.cache
def with_and_without(text: str):
    """A program, it with windows, and both without gradients."""
    program = tensorprog.compile(text)
    found = with_windows(program.program)
    assert not isinstance(found, str), found
    made, form = found
    verify(made)
    reporter = Reporter(made.source)
    return program, form, differentiated(program.program, reporter), differentiated(made, reporter)


def trained(text: str, data: dict, bounds: list[int], width: int = 12, **settings: int) -> tuple[dict, dict]:
    """Outputs of one network by exact steps, and by windows, of as many steps as bounds end with."""
    program, form, exact, made = with_and_without(text)
    env, _, _ = program._prepare(data, {"T": bounds[-1], **settings})
    return tuple(simulate(p, e, width=width, seeds=[0]) for p, e in (
        (exact, env), (made, {**env, form.bounds: np.array(bounds), form.count: len(bounds)})))


def largest(found: dict, exact: dict) -> float:
    return max(float(np.max(np.abs(found[name] - exact[name]))) for name in exact)


ALL = {**{name: HEAD + text for name, text in FORMS.items()}, **{name: HEAVY + text for name, text in MOVING.items()}}


@pytest.mark.parametrize("form", ALL)
def test_windows_of_one_step_are_exact_at_finite_width(form):
    exact, found = trained(ALL[form], points(), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    assert largest(found, exact) < 1e-12
    assert largest(found, {name: np.zeros_like(value) for name, value in exact.items()}) > 0.1


@pytest.mark.quick("momentum", "minibatches", "family")
@pytest.mark.parametrize("form", sorted({*ALL} - {"one row in a step, with momentum"}))
def test_windows_are_of_second_order(form):
    """Windows of half the length have a quarter of the error, or less. Functions are smooth, and steps small."""
    text = ALL[form].replace("eta = 0.3", "eta = 0.008").replace("relu", "tanh")
    errors = []
    for length in (24, 12, 6):
        exact, found = trained(text, points(), [1, *range(1 + length, 50, length)])
        errors.append(largest(found, exact))
    assert errors[0] > 1e-7
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_what_single_rows_scatter_is_of_second_order_in_the_rate():
    """Steps by single rows go to and fro about the line between the ends of a window, by an amount that does not depend on its
    length but on the rate."""
    text = ALL["one row in a step, with momentum"]
    errors = [largest(*reversed(trained(text.replace("eta = 0.3", f"eta = {eta}"), points(), [1, *range(13, 50, 12)])))
              for eta in (0.02, 0.01)]
    assert 0.01 > errors[0] > 3 * errors[1] > 1e-6


def test_windows_of_families_and_other_widths():
    rng = np.random.default_rng(3)
    data = {"X": rng.normal(size=(3, 2)), "Y": rng.normal(size=(3, 2))}
    exact, found = trained(WIDE, data, [2, 3, 4, 5, 6, 7, 8], width=16, L=2)
    assert largest(found, exact) < 1e-12
    exact, found = trained(WIDE, data, [2, 5, 8], width=16, L=2)
    assert 1e-6 < largest(found, exact) < 0.1


def test_linear_regression_is_exact_in_one_window():
    """Where features do not change, f[t+1] = f[t] - eta/P K (f[t] - y) with a constant K: no window changes anything."""
    text = HEAD + """
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    v -= eta * n * grad(loss, v)
for a in range(P):
    for c in range(P):
        K[a, c] = moment(tanh(W @ tanh(U @ X[a])) * tanh(W @ tanh(U @ X[c])))
output f, K
"""
    data = points()
    exact, found = trained(text, data, [0, 12])
    assert largest(found, exact) < 1e-12
    f, kernel = found["f"][0], found["K"][0]
    for t in range(11):
        np.testing.assert_allclose(f[t + 1], f[t] - 0.3 / 4 * kernel @ (f[t] - data["y"]), atol=1e-12)


REFUSED = {
    "a function of a gradient": ("""
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P))
    M = 0.9*M + n*grad(loss[t], v)
    v -= eta * tanh(M)
output loss
""", "what `v` becomes is not linear"),
    "clipping": ("""
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P))
    g = n*grad(loss[t], v)
    length = sqrt(moment(g**2))
    v -= eta * g / max(1, length)
output loss
""", "a rate is made of what updates change"),
    "a velocity that is looked at": ("""
for t in range(T):
    for a in range(P):
        f[a] = moment((v + 0.5*M) * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P))
    M = 0.9*M - eta*n*grad(loss[t], v)
    v += M
output loss
""", "the loss reads what gradients make"),
    "one after the other": ("""
for t in range(T):
    for a in range(P):
        f[a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[a] - y[a])**2 for a in range(P))
    v -= eta * n*grad(loss[t], v)
    norm[t] = moment(v**2)
output loss, norm
""", "read after an update"),
    "a vector is kept": ("""
for t in range(T):
    for a in range(P):
        x[a] = tanh(W @ tanh(U @ X[a]))
        f[a] = moment(v * x[a])
    loss[t] = mean((f[a] - y[a])**2 for a in range(P))
    v -= eta * n*grad(loss[t], v)
output loss, moment(x[0]**2) as kept
""", "is a vector"),
    "earlier iterations": ("""
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    if t > 0:
        loss[t] = mean((f[t, a] - f[t-1, a]/2 - y[a])**2 for a in range(P))
    else:
        loss[t] = mean((f[t, a] - y[a])**2 for a in range(P))
    v -= eta * n*grad(loss[t], v)
output loss
""", "depends on the iteration"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_loops_take_every_step(name):
    text, reason = REFUSED[name]
    found = with_windows(tensorprog.compile(HEAD + "vector M : [n] = 0\n" + text).program)
    assert isinstance(found, str) and found.startswith("t: ") and reason in found


def test_the_plan_says_what_is_done():
    trains = HEAD + FORMS["family"]
    assert "windows: loop t, where they change outputs by less than a third of the error" in tensorprog.compile(trains).emit("plan")
    signs = tensorprog.compile(trains.replace("W -= eta * grad(loss[t], W)", "W -= eta * tanh(n * grad(loss[t], W)) / n"))
    assert "windows: none (t: " in signs.emit("plan")


def test_nothing_is_trained():
    program = tensorprog.compile(HEAD + "output moment(v * tanh(W @ tanh(U @ X[0]))) as f")
    assert with_windows(program.program) == ""
    assert "windows" not in program.emit("plan")


def test_bounds_cover_all_steps():
    for ratio in (2.0, 0.7, 0.1):
        for steps in (range(40), range(5, 6), range(3, 500)):
            bounds = windows.geometric(steps, ratio)
            assert bounds[0] > steps.start and bounds[-1] == steps.stop and np.all(np.diff(bounds) > 0)
            lengths = np.diff(bounds)[:-1]
            assert np.all(lengths >= 3) and np.all(lengths <= np.maximum(3, ratio * (bounds[:-2] - steps.start)))


# --- particles ---


@pytest.fixture
def eager(monkeypatch):
    """Windows for small runs, too."""
    monkeypatch.setattr(windows, "LEAST_WORK", 0.0)


TRAINED = HEAD + FORMS["average in a sum"].replace("output history", """
for a in range(P):
    f[a] = net(X[a])
output history, f""")
SETTINGS = {"T": 100, "eta": 0.05}


def test_particles_take_windows(eager):
    program = tensorprog.compile(TRAINED)
    exact = program.run(points(), samples=1024, windows=False, **SETTINGS)
    found = program.run(points(), samples=1024, **SETTINGS)
    assert "windows" not in exact.settings and 0 < found.settings["windows"] < 30
    assert found.method == exact.method == {"history": "particles", "f": "particles"}
    for name in exact.numbers():
        assert not np.array_equal(found[name], exact[name])
        assert np.all(np.abs(found[name] - exact[name]) < 3 * np.hypot(found.error[name], exact.error[name]) + 1e-12)
    assert program.run(points(), samples=1024, **SETTINGS)["f"].tolist() == found["f"].tolist()


@pytest.mark.parametrize("form", ["family", "momentum and decoupled decay", "minibatches"])
def test_pilots_differ_by_windows_alone(form, eager, monkeypatch):
    """Those of one step change nothing but rounding, in whatever order rows and states come."""
    found = []

    def longest(pilot, allowed, rank):
        single = pilot._change(np.arange(3, pilot.steps.stop + 1))
        found.extend([pilot.networks, single, pilot._change(windows.geometric(pilot.steps, 1.0))])

    monkeypatch.setattr(windows._Pilot, "longest", longest)
    tensorprog.compile(ALL[form]).run(points(), samples=256, T=24, eta=0.1)
    networks, single, long = found
    assert networks and max(float(np.max(change)) for change in single.values()) < 1e-11
    assert max(float(np.max(change)) for change in long.values()) > 1e-6


@pytest.mark.parametrize("text", [WIDE, TRAINED.replace("normal(0, 1/n)", "orthogonal(1)")])
def test_pilots_of_particles_where_matrices_are_not_those_of_networks(text, eager, monkeypatch):
    found = []
    monkeypatch.setattr(windows._Pilot, "longest", lambda pilot, allowed, rank: found.append(pilot.networks))
    data = points() | {"Y": points()["X"][:, :2]} if text is WIDE else points()
    tensorprog.compile(text).run(data, samples=256, T=24, eta=0.05, **({"L": 1} if text is WIDE else {}))
    assert found == [False]


def test_what_windows_change_is_in_the_error(eager):
    """For a large error windows are long, and what they change is far above what particles scatter."""
    program = tensorprog.compile(TRAINED)
    truth = program.run(points(), samples=4096, windows=False, **SETTINGS)
    fine = program.run(points(), samples=4096, **SETTINGS)
    coarse = program.run(points(), samples=4096, error=0.02, **SETTINGS)
    assert coarse.settings["windows"] < fine.settings["windows"]
    assert coarse.accuracy.reached and coarse.error["f"].max() < 0.02
    off = np.abs(coarse["f"] - truth["f"])
    assert off.max() > 3 * truth.error["f"].max()
    assert np.all(off < 2 * np.hypot(coarse.error["f"], truth.error["f"]))


def test_small_runs_take_every_step():
    found = tensorprog.compile(TRAINED).run(points(), samples=256, **SETTINGS)
    assert "windows" not in found.settings


def test_no_windows_where_they_save_nothing(eager):
    """Every output of many has a tangent kernel with every other."""
    rng = np.random.default_rng(0)
    data = {"X": rng.normal(size=(20, 2)), "Y": rng.normal(size=(20, 10))}
    found = tensorprog.compile(WIDE).run(data, samples=256, T=16, L=1, eta=0.01)
    assert "windows" not in found.settings


def test_windows_from_the_command_line(eager, tmp_path):
    (tmp_path / "model.tp").write_text(TRAINED, encoding="utf-8")
    np.savez(tmp_path / "points.npz", **points())
    command = ["run", str(tmp_path / "model.tp"), str(tmp_path / "points.npz"), "--set", "T=100", "--set", "eta=0.05", "--samples",
               "512", "--json"]
    first, second = (json.loads(CliRunner().invoke(main, [*command, *more]).stdout)["results"] for more in ([], ["--no-windows"]))
    assert first["f"] != second["f"]


def test_the_program_with_windows_is_kept(eager, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TENSORPROG_NO_CACHE")
    first, second = (tensorprog.compile(TRAINED).run(points(), samples=512, **SETTINGS) for _ in range(2))
    assert first.settings["windows"] and first["f"].tolist() == second["f"].tolist()
    found = windows.windowed(tensorprog.compile(TRAINED).compiled)
    assert not isinstance(found, str)
    monkeypatch.setattr("tensorprog.passes.windows.with_windows", None)
    assert windows.windowed(tensorprog.compile(TRAINED).compiled).form == found.form


@pytest.mark.slow
@pytest.mark.parametrize("samples", [256, 1024])
@pytest.mark.parametrize("function", ["tanh", "relu"])
def test_coverage(function, samples, eager, monkeypatch):
    """Two errors of runs with windows cover between 90 and 99.5 percent."""
    monkeypatch.setattr(windows, "ALLOWED", 1.0)
    program = tensorprog.compile(TRAINED.replace("tanh", function).replace("normal(0, 1/n)", "normal(0, 2/n)"))
    truth = program.run(points(), samples=16384, replicates=16, seed=1000, windows=False, **SETTINGS)
    inside, taken = [], 0
    for seed in range(100):
        found = program.run(points(), samples=samples, seed=seed, **SETTINGS)
        taken += "windows" in found.settings
        inside.append(np.abs(found["f"] - truth["f"]) < 2 * np.hypot(found.error["f"], truth.error["f"]))
    assert taken > 30
    assert 0.9 < np.mean(inside) < 0.995


def test_a_pilot_that_diverges_certifies_nothing(eager):
    text = TRAINED.replace("sum((net(X[a]) - y[a])**2", "sum((net(X[a]) - y[a])**4")
    found = tensorprog.compile(text).run(points(), samples=256, T=40, eta=20.0)
    assert not np.all(np.isfinite(found["history"])) and "windows" not in found.settings


@pytest.mark.filterwarnings("error")
def test_too_long_windows_diverge_without_a_word():
    runs = {None: [{"f": np.ones(2)}] * windows.PAIRS, "long": [{"f": np.array([1e200 * k, 1.0])} for k in range(windows.PAIRS)]}
    pilot = SimpleNamespace(values=runs.get, reference=None)
    assert windows._Pilot._change(pilot, "long")["f"].tolist() == [np.inf, 0.0]
