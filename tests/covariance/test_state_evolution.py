"""Approximate message passing in many spellings: state evolution by covariances, beside an independent recursion."""

import math

import numpy as np
import pytest

import tensorprog
from tensorprog import ProgramError

DELTA, NOISE, ALPHA, STEPS = 0.64, 0.2, 1.5, 4

HEAD = """
width n
width m = 0.64*n
param alpha = 1.5
param T : int = 4
matrix A : [m, n] ~ normal(0, 1/m)
{signal}
vector noise : [m] ~ normal(0, 0.2)
{denoiser}
y = A @ signal + noise
"""

SIGNS = """vector active : [n] ~ bernoulli(0.128)
vector signs : [n] ~ rademacher()
signal = active * signs"""

FAMILIES = """x[0] = 0 * signal
z[0] = y
for t in range(T):
    tau2[t] = moment(z[t]**2)
    r[t] = x[t] + A.T @ z[t]
    x[t+1] = denoise(r[t], {scale})
    share = {share}
    z[t+1] = y - A @ x[t+1] + share / 0.64 * z[t]
    mse[t] = moment((x[t+1] - signal)**2)
output tau2, mse
"""

SCALE_AT_THE_END = """x[0] = 0 * signal
z[0] = y
tau2[0] = moment(z[0]**2)
for t in range(T):
    r = x[t] + A.T @ z[t]
    x[t+1] = denoise(r, alpha * sqrt(tau2[t]))
    z[t+1] = y - A @ x[t+1] + moment(denoise'(r, alpha * sqrt(tau2[t]))) / 0.64 * z[t]
    tau2[t+1] = moment(z[t+1]**2)
    mse[t] = moment((x[t+1] - signal)**2)
output tau2, mse
output moment((x[T] - signal)**2) as final
"""

NAMES = """x = 0 * signal
z_old = 0 * y
share = 0.0
for t in range(T):
    z = y - A @ x + share / 0.64 * z_old
    tau2[t] = moment(z**2)
    r = x + A.T @ z
    x = denoise(r, alpha * sqrt(tau2[t]))
    share = moment(denoise'(r, alpha * sqrt(tau2[t])))
    z_old = z
    mse[t] = moment((x - signal)**2)
output tau2, mse
output moment((x - signal)**2) as final
"""

IN_PLACE = """x = 0 * signal
z = y
for t in range(T):
    tau2[t] = moment(z**2)
    r = x + A.T @ z
    x = denoise(r, alpha * sqrt(tau2[t]))
    z *= moment(denoise'(r, alpha * sqrt(tau2[t]))) / 0.64
    z += y
    z -= A @ x
    mse[t] = moment((x - signal)**2)
output tau2, mse
"""

FIRST_APART = """for t in range(T):
    if t == 0:
        z[t] = y
        now = 0 * signal
    else:
        z[t] = y - A @ x[t-1] + share[t-1] / 0.64 * z[t-1]
        now = x[t-1]
    tau2[t] = moment(z[t]**2)
    r = now + A.T @ z[t]
    x[t] = denoise(r, alpha * sqrt(tau2[t]))
    share[t] = moment(denoise'(r, alpha * sqrt(tau2[t])))
    mse[t] = moment((x[t] - signal)**2)
output tau2, mse, share
output moment((x[T-1] - signal)**2) as final
"""

CORRECTED_LATER = """x[0] = 0 * signal
for t in range(T):
    z[t] = y - A @ x[t]
    if t > 0:
        z[t] += b[t-1] * z[t-1]
    tau2[t] = moment(z[t]**2)
    r = x[t] + A.T @ z[t]
    x[t+1] = denoise(r, alpha * sqrt(tau2[t]))
    b[t] = moment(denoise'(r, alpha * sqrt(tau2[t]))) / 0.64
    mse[t] = moment((x[t+1] - signal)**2)
output tau2, mse
"""

NAMES_APART = """for t in range(T):
    if t == 0:
        x = 0 * signal
        z = y
    elif t > 0:
        z = y - A @ x + share / 0.64 * z
    tau2[t] = moment(z**2)
    r = x + A.T @ z
    x = denoise(r, alpha * sqrt(tau2[t]))
    share = moment(denoise'(r, alpha * sqrt(tau2[t])))
    mse[t] = moment((x - signal)**2)
output tau2, mse
"""

BY_TWOS = """x[0] = 0 * signal
z[0] = y
for k in range(2, 2*T + 2, 2):
    tau2[k//2 - 1] = moment(z[k-2]**2)
    r = x[k-2] + A.T @ z[k-2]
    x[k] = denoise(r, alpha * sqrt(moment(z[k-2]**2)))
    z[k] = y - A @ x[k] + moment(denoise'(r, alpha * sqrt(moment(z[k-2]**2)))) / 0.64 * z[k-2]
    mse[k//2 - 1] = moment((x[k] - signal)**2)
output tau2, mse
output moment((x[2*T] - signal)**2) as final
"""

SOFT = "def denoise(x, c) = relu(x - c) - relu(-x - c)"
COUNTED = "moment(step(abs(r[t]) - alpha * sqrt(tau2[t])))"


def families(share="moment(denoise'(r[t], {scale}))", scale="alpha * sqrt(tau2[t])"):
    return FAMILIES.format(scale=scale, share=share.replace("{scale}", scale))


def message_passing(body, denoiser=SOFT, signal=SIGNS):
    return tensorprog.compile(HEAD.format(signal=signal, denoiser=denoiser) + body)


def soft(x, c):
    return np.sign(x) * np.maximum(abs(x) - c, 0)


def gaussian_mean(f, breaks):
    """E f(g), g standard normal, by Gauss-Legendre rules on panels that end at `breaks`."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    ends = np.unique(np.concatenate([np.linspace(-12, 12, 49), [b for b in breaks if abs(b) < 12]]))
    middle, half = (ends[1:] + ends[:-1]) / 2, (ends[1:] - ends[:-1]) / 2
    g = middle[:, None] + half[:, None] * nodes
    return float(np.sum(half[:, None] * weights * f(g) * np.exp(-g * g / 2)) / math.sqrt(2 * math.pi))


def over_signs(f):
    return 0.872 * f(0.0) + 0.064 * (f(1.0) + f(-1.0))


def over_sparse(f):
    return 0.9 * f(0.0) + 0.1 * gaussian_mean(np.vectorize(f), ())


def evolution(denoiser, over_signal, kinks=(-1, 1), scale=lambda tau2: ALPHA * math.sqrt(tau2)):
    """The recursion of tau2 and the mean squared error (Bayati and Montanari, arXiv 1001.3448, equation 1.4)."""
    tau2, errors = [NOISE + over_signal(lambda s: s * s) / DELTA], []
    for _ in range(STEPS):
        c, deviation = scale(tau2[-1]), math.sqrt(tau2[-1])
        errors.append(over_signal(lambda s: gaussian_mean(
            lambda g: (denoiser(s + deviation * g, c) - s)**2, [(k * c - s) / deviation for k in kinks])))
        tau2.append(NOISE + errors[-1] / DELTA)
    return np.array(tau2), np.array(errors)


def assert_evolves(program, expected, **settings):
    found = program.run(**settings)
    tau2, errors = expected
    assert set(found.method.values()) == {"covariance"}
    assert found["tau2"] == pytest.approx(tau2[:len(found["tau2"])], abs=1e-9)
    assert found["mse"] == pytest.approx(errors, abs=1e-9)
    if "final" in found.method:
        assert found["final"] == pytest.approx(errors[-1], abs=1e-9)
    assert max(error.max() for error in found.error.values()) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("body", [SCALE_AT_THE_END, NAMES, families(COUNTED), FIRST_APART, CORRECTED_LATER, NAMES_APART, BY_TWOS],
                         ids=["scale at the end", "names", "counted", "first apart", "corrected later", "names apart", "by twos"])
def test_the_same_recursion_in_other_statements(body):
    assert_evolves(message_passing(body), evolution(soft, over_signs))


@pytest.mark.slow
def test_a_sparse_signal():
    program = message_passing(families(), signal="vector signal : [n] ~ sparse_normal(0.1, 1)")
    assert_evolves(program, evolution(soft, over_sparse))


@pytest.mark.slow
def test_the_posterior_mean_of_a_sparse_signal():
    """Of r f(r), each term alone would hold what r takes over from the iteration before."""
    program = message_passing(families(scale="tau2[t]"), """def odds(x, s) = 9 * sqrt((1 + s) / s) * exp(-x**2 / (2 * s * (1 + s)))
def denoise(x, s) = x / (1 + s) / (1 + odds(x, s))""", "vector signal : [n] ~ sparse_normal(0.1, 1)")

    def posterior_mean(x, s):
        return x / (1 + s) / (1 + 9 * np.sqrt((1 + s) / s) * np.exp(-x**2 / (2 * s * (1 + s))))

    assert_evolves(program, evolution(posterior_mean, over_sparse, scale=lambda tau2: tau2))


def test_a_smooth_denoiser():
    program = message_passing(families(), "def denoise(x, c) = tanh(x / c)")
    assert_evolves(program, evolution(lambda x, c: np.tanh(x / c), over_signs))


def test_a_denoiser_that_jumps():
    """Of an iterate with itself, taken for two that are equal but for rounding, a jump would lose half of the digits at every step."""
    program = message_passing(families("moment(r[t] * x[t+1] - signal * x[t+1]) / tau2[t]"), "def denoise(x, c) = x * step(abs(x) - c)")
    assert_evolves(program, evolution(lambda x, c: x * (abs(x) > c), over_signs))


def test_a_denoiser_whose_jump_is_filled():
    """The derivative of the sign is a delta beside what is 0 there."""
    program = message_passing(families(), "def denoise(x, c) = sign(x) * log(1 + abs(x) / c)")
    assert_evolves(program, evolution(lambda x, c: np.sign(x) * np.log1p(abs(x) / c), over_signs, kinks=(0,)))


@pytest.mark.parametrize("body, denoiser", [
    (IN_PLACE, SOFT),
    (FIRST_APART, SOFT),
    (CORRECTED_LATER, SOFT),
    (NAMES_APART, SOFT),
    (BY_TWOS, SOFT),
    (families(), "def denoise(x, c) = sign(x) * max(abs(x) - c, 0)"),
    (families(), "def denoise(x, c) = max(x - c, 0) + min(x + c, 0)"),
    (families(), "def denoise(x, c) = x - clip(x, -c, c)"),
    (families(), "def denoise(x, c) = x + (abs(x - c) - abs(x + c)) / 2"),
    (families(COUNTED), "def denoise(x, c) = (x - c) * step(x - c) + (x + c) * step(-x - c)"),
    (families("moment(sign(x[t+1])**2)"), SOFT),
    (families("moment(abs(sign(x[t+1])))"), SOFT),
    (families("moment(r[t] * x[t+1] - signal * x[t+1]) / tau2[t]"), "def denoise(x, c) = x * step(abs(x) - c)"),
    (families(), "def denoise(x, c) = x / (1 + exp(-x**2 / c))"),
    (families(scale="tau2[t]"), """def odds(x, s) = 3 * sqrt((1 + s) / s) * exp(-x**2 / (2 * s * (1 + s)))
def denoise(x, s) = x / (1 + s) / (1 + odds(x, s))"""),
    (families(scale="tau2[t]"), "def denoise(x, s) = tanh(x / s) / 2 + x / (2 * (1 + s))"),
    (families(), "def denoise(x, c) = sign(x) * log(1 + abs(x) / c)"),
], ids=["in place", "first apart", "corrected later", "names apart", "by twos", "sign and max",
        "max and min", "clip", "absolute values", "steps", "squared signs", "absolute signs",
        "hard, by Stein", "smooth gate", "posterior mean", "a linear part", "logarithm"])
def test_every_spelling_and_denoiser_has_equations_of_one_gaussian_each(body, denoiser):
    plan = message_passing(body, denoiser).plan
    assert plan.names("particles") == []
    assert plan.system.cancelling
    assert max(recipe.dimension for recipe in plan.system.recipes) <= 1


@pytest.mark.parametrize("law", ["sparse_normal(0.1, 1)", "uniform(-1, 1)", "uniform(0, 2)", "constant(0.3)",
                                 "rademacher()"])
def test_signals_of_every_law_have_equations(law):
    plan = message_passing(families(), signal=f"vector signal : [n] ~ {law}").plan
    assert plan.names("particles") == []


def test_a_condition_that_does_not_hold_is_found_when_it_runs():
    # With a threshold c below zero, relu(x - c) - relu(-x - c) has slope 2 between c and -c, where |x| > c is counted
    # once: the correction is not the response, and there is no state evolution.
    program = message_passing(families(COUNTED))
    assert program.plan.system.conditions
    found = program.run(alpha=-0.2, T=2, samples=64, replicates=2)
    assert set(found.method.values()) == {"particles"}
    with pytest.raises(ProgramError) as error:
        program.run(alpha=-0.2, T=2, method="covariance")
    assert error.value.diagnostics[0].code == "TP712"
    assert "do not cancel" in str(error.value)


def test_wrong_corrections_have_no_equations():
    plan = message_passing(families("0.0")).plan
    assert set(plan.names("particles")) == {"tau2", "mse"}


@pytest.mark.slow
def test_the_square_of_a_sign_is_zero_where_a_function_is():
    program = tensorprog.compile("""width n
vector u : [n] ~ normal(0, 1)
output moment(sign(relu(u))**2) as positive
output moment(sign(relu(u - 1) - relu(-u - 1))) as balance
output moment(sign(relu(u - 1) - relu(-u - 2))) as tilt
""")
    found = program.run()
    above = [math.erfc(c / math.sqrt(2)) / 2 for c in (1, 2)]
    assert found["positive"] == pytest.approx(0.5, abs=1e-12)
    assert found["balance"] == pytest.approx(0, abs=1e-12)
    assert found["tilt"] == pytest.approx(above[0] - above[1], abs=1e-12)


# --- what is averaged over iterations ---------------------------------------------------------------------------

DAMPED = """param keep = 0.3
x = 0 * signal
z = y
for t in range(T):
    tau2[t] = moment(z**2)
    r = x + A.T @ z
    c = alpha * sqrt(tau2[t])
    better = denoise(r, c)
    z = keep * z + (1 - keep) * (y - A @ better + moment(denoise'(r, c)) / 0.64 * z)
    x = keep * x + (1 - keep) * better
    mse[t] = moment((x - signal)**2)
output tau2, mse
"""

DAMPED_ESTIMATE = """param keep = 0.3
x = 0 * signal
z = y
memory = 0 * y
for t in range(T):
    tau2[t] = moment(z**2)
    r = x + A.T @ z
    c = alpha * sqrt(tau2[t])
    x = keep * x + (1 - keep) * denoise(r, c)
    memory = keep * memory + (1 - keep) * moment(denoise'(r, c)) / 0.64 * z
    z = y - A @ x + memory
    mse[t] = moment((x - signal)**2)
output tau2, mse
"""

AVERAGED = """average = 0 * signal
x = 0 * signal
z = y
for t in range(T):
    tau2[t] = moment(z**2)
    r = x + A.T @ z
    x = denoise(r, alpha * sqrt(tau2[t]))
    average = (t * average + x) / (t + 1)
    z = y - A @ x + moment(denoise'(r, alpha * sqrt(tau2[t]))) / 0.64 * z
    mse[t] = moment((average - signal)**2)
output tau2, mse
"""

ALL_PAIRS = """x[0] = 0 * signal
z[0] = y
for t in range(T):
    tau2[t] = moment(z[t]**2)
    r[t] = x[t] + A.T @ z[t]
    x[t+1] = denoise(r[t], alpha * sqrt(tau2[t]))
    z[t+1] = y - A @ x[t+1] + moment(denoise'(r[t], alpha * sqrt(tau2[t]))) / 0.64 * z[t]
for s in range(T):
    for t in range(T):
        joint[s, t] = moment(z[s] * z[t])
output joint
"""


def joint_mean(first, joint, second, c, d):
    """E soft(s + u, c) soft(s + v, d) over signs s and (u, v) of these variances and covariance."""
    slope, left = joint / first, math.sqrt(max(second - joint**2 / first, 0.0))

    def above(mean):
        if left < 1e-7:
            return np.maximum(mean, 0)
        x = mean / left
        return mean * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2 + left * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    deviation = math.sqrt(first)

    def given(s):
        return gaussian_mean(lambda g: soft(s + deviation * g, c) * (above(s + slope * deviation * g - d)
                                                                     - above(-s - slope * deviation * g - d)),
                             [(k * c - s) / deviation for k in (-1, 1)])

    return over_signs(given)


def evolution_of_averages(estimate, residual, average=None, steps=STEPS):
    """Covariances of the residuals [t, t], and the errors of averages of the denoised h_1, h_2, ... (h_0 = 0).

    Args:
        estimate, residual: row t says of which of h_0 ... h_t the estimate that follows step t, and A in the residual, is
            the average; both [steps + 1, steps + 1].
        average: the same of what `mse` is of.
    """
    products, signals = np.zeros((steps + 1, steps + 1)), np.zeros(steps + 1)
    joint, size, threshold = np.zeros((steps, steps)), 0.128, []

    def between(i, j):
        return NOISE + (products[i, j] - signals[i] - signals[j] + size) / DELTA

    for t in range(steps):
        for s in range(t + 1):
            joint[s, t] = joint[t, s] = sum(residual[s, i] * residual[t, j] * between(i, j)
                                            for i in range(steps + 1) for j in range(steps + 1))
        threshold.append(ALPHA * math.sqrt(joint[t, t]))
        for s in range(t + 1):
            products[t + 1, s + 1] = products[s + 1, t + 1] = joint_mean(
                joint[t, t], joint[s, t], joint[s, s], threshold[t], threshold[s])
        signals[t + 1] = over_signs(lambda s: s * gaussian_mean(
            lambda g: soft(s + math.sqrt(joint[t, t]) * g, threshold[t]),
            [(k * threshold[t] - s) / math.sqrt(joint[t, t]) for k in (-1, 1)]))
    rows = estimate if average is None else average
    return joint, np.array([w @ products @ w - 2 * w @ signals + size for w in rows[1:]])


def damped(keep=0.3, steps=STEPS):
    """Row t is keep times the row before plus 1 - keep times the newest."""
    rows = np.eye(steps + 1)
    for t in range(steps):
        rows[t + 1] = keep * rows[t] + (1 - keep) * rows[t + 1]
    return rows


@pytest.mark.quick("averaged")
@pytest.mark.parametrize("body, arguments", [
    (DAMPED, (damped(), damped())),
    (DAMPED_ESTIMATE, (damped(), damped())),
    (AVERAGED, (np.eye(5), np.eye(5), np.array([[1, 0, 0, 0, 0], *([0] + [1 / t] * t + [0] * (4 - t) for t in range(1, 5))]))),
], ids=["damped", "damped with a memory of corrections", "averaged"])
def test_averages_over_iterations(body, arguments):
    joint, errors = evolution_of_averages(*arguments)
    assert_evolves(message_passing(body), (np.diag(joint), errors))


def test_damping_whose_correction_forgets_has_no_equations():
    """The response to the estimate is that to all iterates which it averages, not to the last one alone."""
    body = DAMPED_ESTIMATE.replace("memory = keep * memory + ", "memory = ")
    assert set(message_passing(body).plan.names("particles")) == {"tau2", "mse"}


@pytest.mark.slow
def test_residuals_of_all_pairs_of_iterations():
    """On the diagonal the two are equal but for rounding errors of the recursions that their covariances come from."""
    found = message_passing(ALL_PAIRS).run(T=6)
    assert found.method["joint"] == "covariance"
    joint, _ = evolution_of_averages(np.eye(7), np.eye(7), steps=6)
    assert found["joint"] == pytest.approx(joint, abs=1e-12)
    assert found["joint"] == pytest.approx(found["joint"].T, abs=1e-13)


def test_iterations_that_are_counted_by_twos():
    body = families().replace("range(T)", "range(0, 2*T, 2)").replace("t+1", "t+2").replace("output tau2, mse",
                                                                                             "output moment((x[2*T] - signal)**2) as final")
    plan = message_passing(body).plan
    assert plan.names("particles") == []
