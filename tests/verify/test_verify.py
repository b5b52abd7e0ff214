"""Verification: right limits pass, wrong ones fail, and what is said about errors and powers of n is so.

Synthetic networks, drawn from a law with a known limit, stand in for simulations where the statistics are the subject.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from known_answers import KNOWN

import tensorprog
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.results import Result
from tensorprog.runtime.replicates import standard_error
from tensorprog.verify.statistics import (
    Estimate,
    distance_of_means,
    distance_of_networks,
    extrapolate,
    fit_power,
    keeps_scattering,
    significance,
)
from tensorprog.verify.verify import judge

WIDTHS = (64, 128, 256, 512, 1024)
SEEDS = 16

LEARNING = """\
width n
param eta = 0.4
param T : int = 4
size P
input y : [P]
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for t in range(T):
    f[t] = moment(v * u)
    loss = (f[t] - y[0])**2 / 2
    u -= eta * n * grad(loss, u)
    v -= eta * n * grad(loss, v)
output f
output moment(u * u) as norm
"""
DATA = {"y": np.array([1.0])}


def draw(value, bias, power=1.0, spread=1.0, seeds=SEEDS, rng=None, decay=0.5):
    """Networks `value + bias n^-power + spread n^-decay normal`, [K, S, J]."""
    value = np.atleast_1d(np.asarray(value, dtype=float))
    n = np.array(WIDTHS, dtype=float)[:, None, None]
    return value + bias * n ** -power + spread * n ** -decay * rng.normal(size=(len(WIDTHS), seeds, len(value)))


def exactly(value):
    value = np.atleast_1d(np.asarray(value, dtype=float))
    return Estimate(value, np.zeros_like(value), np.full(len(value), 7.0))


def as_results(samples, value, error=0.0):
    """A limit and simulations, as runs give them, of one output `q`."""
    value = np.asarray(value, dtype=float)
    limit = Result({"q": value}, {"q": np.full(value.shape, error)}, {"q": "particles"}, settings={"replicates": 8})
    networks = [Result({"q": drawn.mean(axis=0)}, {"q": standard_error(drawn, 1.0)}, {"q": "finite"},
                       settings={"width": width}, samples={"q": drawn})
                for width, drawn in zip(WIDTHS, samples.reshape(len(WIDTHS), -1, *value.shape), strict=True)]
    return limit, networks


# --- statistics ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "power"), [(0, 1), (3, 1), (100, 2), (2, 0.5)])
def test_extrapolation_is_right_within_its_errors(bias, power):
    rng = np.random.default_rng(0)
    value = np.full(4000, 0.7)
    found = extrapolate(WIDTHS, draw(value, bias, power, rng=rng))
    deviation, _, _ = significance(found, exactly(value), 0.05)
    assert np.mean(deviation > 2) < 0.1
    assert np.mean(deviation > 4.5) < 1e-2
    inflation = np.sqrt(WIDTHS[-1] * SEEDS * np.median(found.variance))
    assert inflation < (2.0 if power == 1 else 10.0)


def test_extrapolation_of_exact_numbers():
    for exact in (1 + 1 / np.array(WIDTHS), np.full(5, 2.5), np.zeros(5)):
        found = extrapolate(WIDTHS, np.repeat(exact[:, None, None], SEEDS, axis=1))
        assert found.value == pytest.approx(2.5 if exact[0] == 2.5 else float(exact[0] > 0), abs=1e-10)
        assert np.sqrt(found.variance) < 1e-10


def test_a_bias_of_no_known_form_enlarges_the_error():
    means = np.cos(np.array(WIDTHS) / 100)[:, None, None]
    found = extrapolate(WIDTHS, means + np.random.default_rng(0).normal(0, 1e-6, (5, SEEDS, 1)))
    assert np.sqrt(found.variance) > 0.1


def test_allowed_deviations_have_their_level():
    """Student's t with the degrees of freedom of Welch and Satterthwaite, for two numbers with errors of their own."""
    rng = np.random.default_rng(3)
    ours, theirs = (Estimate(rng.normal(0, size, 100_000), size ** 2 * rng.chisquare(f, 100_000) / f,
                             np.full(100_000, float(f))) for size, f in ((1.0, 12), (0.5, 7)))
    deviation, allowed, error = significance(ours, theirs, 1e-2)
    assert np.mean(deviation > allowed) == pytest.approx(1e-2, rel=0.15)
    assert np.mean(error ** 2) == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_power_of_single_networks(decay):
    rng = np.random.default_rng(1)
    powers = [fit_power(WIDTHS, *distance_of_networks(draw(np.zeros(5), 0, rng=rng, decay=decay), exactly(np.zeros(5))))
              for _ in range(100)]
    check_powers(powers, -decay)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_power_of_means(power):
    """Noise is larger than the bias at large widths, and must not be taken for it."""
    rng = np.random.default_rng(2)
    powers = [fit_power(WIDTHS, *distance_of_means(draw(np.zeros(5), 30, power, spread=2 + 8 * (power < 1), rng=rng),
                                                   exactly(np.zeros(5)))) for _ in range(100)]
    check_powers(powers, -power)


def check_powers(powers, expected):
    assert None not in powers
    deviations = [(power.exponent - expected) / power.error for power in powers]
    assert abs(np.mean(deviations)) < 0.5
    assert 0.5 < np.std(deviations) < 1.5


def test_powers_of_what_vanishes_beyond_every_power():
    """exp(-1/f**2) is 1e-300 at one width and 0 at the next: no power, and no overflow in its weights."""
    squares = np.array([1e-3, 1e-40, 1e-200, 0.0, 0.0])[:len(WIDTHS)]
    assert fit_power(WIDTHS, squares, np.zeros(len(squares))) is None
    assert fit_power(WIDTHS, 1e-20 / np.array(WIDTHS, float), np.zeros(len(WIDTHS))).exponent == pytest.approx(-0.5)


def test_no_power_is_claimed_where_there_is_only_noise():
    rng = np.random.default_rng(2)
    powers = [fit_power(WIDTHS, *distance_of_means(draw([0.0], 0, rng=rng), exactly([0.0]))) for _ in range(100)]
    assert sum(power is not None for power in powers) <= 5


# --- verdicts --------------------------------------------------------------------------------------------------


def test_right_limits_pass():
    rng = np.random.default_rng(4)
    value = rng.normal(size=(5, 4))
    verdicts = []
    for _ in range(200):
        shared = rng.normal(size=(5, SEEDS, 1)) / np.sqrt(WIDTHS)[:, None, None]
        verdicts.append(judge(*as_results(draw(value.reshape(-1), 5, rng=rng) + shared, value)).passed)
    assert np.mean(verdicts) >= 0.99


@pytest.mark.parametrize("skew", [lambda z: z ** 2, lambda z: np.exp(z)])
def test_right_limits_pass_with_skewed_noise(skew):
    """Squares of what vanishes, for one: never negative, and mostly small."""
    rng = np.random.default_rng(5)
    n = np.array(WIDTHS)[:, None, None]
    verdicts = [judge(*as_results(skew(rng.normal(size=(5, SEEDS, 3))) / n, np.zeros(3))).passed for _ in range(300)]
    assert np.mean(verdicts) >= 0.99


def test_what_is_said_to_be_found_out_is():
    """At the error named `smallest_seen`, nine of ten verifications fail."""
    rng = np.random.default_rng(6)
    value = np.array([0.5, -1.0, 2.0])
    failed = []
    for _ in range(200):
        samples = draw(value, 2, rng=rng)
        smallest = judge(*as_results(samples, value)).findings["q"].smallest_seen
        failed.append(not judge(*as_results(samples, value * (1 + smallest))).passed)
    assert np.mean(failed) >= 0.8
    assert smallest < 0.1


def test_a_single_wrong_element_is_named():
    samples = draw(np.linspace(-1, 1, 12), 1, rng=np.random.default_rng(7))
    value = np.linspace(-1, 1, 12).reshape(3, 4)
    value[1, 2] += 0.15
    found = judge(*as_results(samples, value))
    assert (found.findings["q"].verdict, found.findings["q"].where) == ("differs", (1, 2))
    assert "q[1, 2]" in found.table()


def test_errors_that_elements_share_add_up():
    samples = draw(np.ones(100), 0, rng=np.random.default_rng(8))
    found = judge(*as_results(samples, np.full(100, 1.02))).findings["q"]
    assert (found.verdict, found.where) == ("differs", None)


def test_exact_outputs():
    samples = np.repeat((1 + 1 / np.array(WIDTHS))[:, None, None], SEEDS, axis=1)
    assert judge(*as_results(samples, 1.0)).findings["q"].verdict == "agrees"
    assert judge(*as_results(samples, 1.0 + 1e-6)).findings["q"].verdict == "differs"
    assert judge(*as_results(np.zeros((5, SEEDS, 1)), 0.0)).findings["q"].verdict == "agrees"


def test_vanishing_outputs():
    samples = draw([0.0], 2, 0.5, rng=np.random.default_rng(9))
    found = judge(*as_results(samples, 0.0)).findings["q"]
    assert (found.verdict, found.relative) == ("agrees", False)
    assert judge(*as_results(samples, 2 * found.smallest_seen)).findings["q"].verdict == "differs"


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_outputs_with_a_negative_power_of_n(power):
    """Their limit is 0, however slowly they get there."""
    program = tensorprog.compile("width n\nparam p = 1.0\nvector v : [n] ~ normal(0, 1)\n"
                                 "q = n**(-p) * moment(v*v)\noutput q\n")
    found = program.verify(p=power)
    assert found.findings["q"].verdict == "agrees", found
    assert found.findings["q"].network_power.exponent == pytest.approx(-power, abs=0.01)
    assert judge(scaled(found.limit, "q", 0, 0.1), found.networks, {"q": power}).findings["q"].verdict == "differs"


def test_noise_that_hides_everything_is_said_to():
    found = judge(*as_results(draw([0.01], 0, spread=5, rng=np.random.default_rng(10)), 0.01))
    assert found.findings["q"].verdict == "not resolved"
    assert found.verdict == "not resolved" and found.passed
    assert "only a limit off by" in found.table()


def test_networks_that_do_not_concentrate_decide_nothing():
    rng = np.random.default_rng(11)
    found = judge(*as_results(rng.random((5, SEEDS, 1)), 0.0))
    assert found.findings["q"].verdict == "not resolved"
    assert "larger --widths" in found.table()


@pytest.mark.parametrize("seeds", [8, 32])
def test_networks_that_keep_scattering_do_not_agree(seeds):
    """Signs of either kind beside a limit said to be their mean, and noise that falls as it should."""
    rng = np.random.default_rng(seeds)
    signs = np.stack([rng.choice([-1.0, 1.0], (seeds, 1)) for _ in WIDTHS])
    normal = np.stack([rng.normal(0, n ** -0.5, (seeds, 40)) for n in WIDTHS])
    found = keeps_scattering(WIDTHS, np.concatenate([signs, normal], axis=2), 1e-3)
    assert found.tolist() == [True] + 40 * [False]


def test_elements_that_are_never_assigned_do_not_count():
    samples = draw(np.arange(6.0), 1, rng=np.random.default_rng(12))
    value = np.arange(6.0).reshape(2, 3)
    value[0, 2] = np.nan
    samples[:, :, 2] = np.nan
    found = judge(*as_results(samples, value))
    assert found.passed
    assert np.array_equal(np.isnan(found.extrapolated["q"]), np.isnan(value))
    json.loads(found.to_json())
    assert judge(*as_results(np.full((5, SEEDS, 6), np.nan), np.full(6, np.nan))).findings["q"].deviation is None


# --- programs --------------------------------------------------------------------------------------------------

# With training, momentum, tied weights, vanishing and exact outputs, integer data.
CASES = ["tanh_mup_eta1.0", "linear_mup_eta0.3", "layernorm", "rnn_constant_input", "word_embedding", "momentum_vector"]


@pytest.mark.parametrize("name", CASES)
def test_programs_pass_and_wrong_limits_fail(name):
    case = next(case for case in KNOWN if case.name == name)
    program = tensorprog.compile(case.path)
    for seed in range(3):
        found = program.verify(case.data, seed=seed, seeds=SEEDS, samples=1024, **case.settings)
        assert found.passed, found
        for output, finding in found.findings.items():
            assert finding.verdict == "agrees"
            if finding.relative:
                wrong = scaled(found.limit, output, 1 + 2.5 * finding.smallest_seen)
                assert judge(wrong, found.networks).findings[output].verdict == "differs"


def scaled(limit, output, factor, offset=0.0):
    values = {name: factor * limit[name] + offset if name == output else limit[name] for name in limit}
    return Result(values, limit.error, limit.method, settings=limit.settings)


def test_two_per_cent_are_found_out(monkeypatch):
    """The evaluator itself is made wrong, where networks are precise enough to tell."""
    from tensorprog.evaluators import covariance, particles, span

    program = tensorprog.compile(LEARNING)
    assert program.verify(DATA).passed
    load = particles.load_module

    def wrong(limit):
        module = load(limit)
        run = module.run
        monkeypatch.setattr(module, "run", lambda *args, **options: tuple(
            {name: value * 1.02 for name, value in part.items()} for part in run(*args, **options)))
        return module

    for evaluator in (span, covariance, particles):
        monkeypatch.setattr(evaluator, "load_module", wrong)
    found = program.verify(DATA).findings
    assert found["f"].verdict == "differs"
    assert found["norm"].smallest_seen > 0.02


def test_a_seed_fixes_everything_and_widths_are_independent():
    program = tensorprog.compile(LEARNING)
    options = {"widths": (1024, 64, 128, 256), "seeds": 3, "samples": 64, "replicates": 2}
    first, again, other = (program.verify(DATA, seed=seed, **options) for seed in (5, 5, 6))
    assert first.to_json() == again.to_json() != other.to_json()
    assert first.widths == [64, 128, 256, 1024]
    assert len({result.settings["seed"] for result in first.networks}) == 4


def test_progress_counts_to_a_hundred():
    seen = []
    tensorprog.compile(LEARNING).verify(DATA, widths=(8, 16, 32, 64), seeds=3, samples=64,
                                        progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (100, 100)


@pytest.mark.parametrize(("options", "code"), [
    ({"widths": (64, 64, 128, 256)}, "TP710"), ({"seeds": 2}, "TP710"), ({"replicates": 1}, "TP710"),
    ({"seeds": "8"}, "TP708"), ({"widths": (0, 1, 2, 3)}, "TP708"),
])
def test_too_little_to_verify_with(options, code):
    with pytest.raises(ProgramError, match=code):
        tensorprog.compile(LEARNING).verify(DATA, **options)


# --- the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.tp").write_text(LEARNING)
    np.savez("data.npz", **DATA)
    return tmp_path


def tpc(*arguments):
    return CliRunner().invoke(main, ["verify", "model.tp", "data.npz", "--samples", "512", *arguments])


def test_command_and_picture(folder):
    result = tpc("--plot", "picture.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("f [4]: agrees\n")
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir()) == ["data.npz", "model.tp", "picture.png"]


def test_command_fails_on_divergence(folder):
    result = tpc("--set", "eta=3", "--set", "T=12", "--seeds", "4", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["passed"] is False
    finding = found["findings"]["f"]
    assert finding["verdict"] == "diverged"
    assert 2 < finding["diverged"]["the limit"] < 12
    text = tpc("--set", "eta=3", "--set", "T=12", "--seeds", "4").stdout
    assert f"  the limit is not finite from f[{finding['diverged']['the limit']}] on" in text


def test_command_fails_on_a_wrong_limit(folder, monkeypatch):
    run_with = tensorprog.CompiledProgram.run_with
    monkeypatch.setattr(tensorprog.CompiledProgram, "run_with",
                        lambda *args, **options: scaled(run_with(*args, **options), "f", 0.9))
    result = tpc()
    assert result.exit_code == 1
    assert "f [4]: differs" in result.stdout


def test_json_agrees_with_python(folder):
    options = {"seeds": 4, "samples": 512, "widths": (16, 32, 64, 128)}
    found = tensorprog.compile("model.tp").verify(DATA, **options)
    result = tpc("--seeds", "4", "--widths", "16,32,64,128", "--json")
    assert result.exit_code == (0 if found.passed else 1)
    assert json.loads(result.stdout) == json.loads(found.to_json())


@pytest.mark.parametrize(("arguments", "code"), [
    (["--widths", "64,128"], "TP710"), (["--seeds", "2"], "TP710"), (["--plot", "picture.jpg"], "TP711"),
    (["--seeds", "3", "--widths", "8,16,32,64", "--plot", "nowhere/picture.png"], "TP707"),
    (["--set", "et=1"], "TP631"),
])
def test_mistakes(folder, arguments, code):
    result = tpc(*arguments)
    assert result.exit_code == 2
    assert code in result.stderr


def write_half(figure, file, **options):
    file.write(b"half")
    raise OSError("the disk is full")


def test_a_picture_is_written_whole_or_not_at_all(folder, monkeypatch):
    found = judge(*as_results(draw(np.ones(3), 1, rng=np.random.default_rng(0)), np.ones(3)))
    Path("picture.svg").write_text("before")
    with monkeypatch.context() as broken:
        broken.setattr("matplotlib.figure.Figure.savefig", write_half)
        with pytest.raises(ProgramError, match="TP707"):
            found.plot("picture.svg")
    assert Path("picture.svg").read_text() == "before"
    found.plot("picture.svg")
    assert "<svg" in Path("picture.svg").read_text()
