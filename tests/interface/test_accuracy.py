"""Runs with a wanted error: reached, or the budget is spent; and how to halve errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from result_example import PROGRAM, X

import tensorprog
from tensorprog.accuracy import LEAST, reach, twice_as_accurate
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.effort import usual_samples
from tensorprog.results import Result


@pytest.fixture(scope="module")
def program():
    return tensorprog.compile(PROGRAM)


@pytest.mark.slow_cases("3e-05")
@pytest.mark.parametrize("wanted", [3e-3, 3e-4, 3e-5])
def test_errors_become_as_small_as_wanted(program, wanted):
    result = program.run({"X": X}, samples=64, error=wanted)
    assert result.accuracy.reached
    assert max(np.max(result.error[name]) for name in result.numbers()) <= wanted
    assert len(result.accuracy.attempts) <= 5
    same = program.run({"X": X}, **{k: result.settings[k] for k in ("samples", "replicates", "seed")})
    np.testing.assert_array_equal(result["f"], same["f"])


def test_only_what_is_asked_for(program):
    result = program.run({"X": X}, samples=64, error={"loss[0]": 1e-3})
    assert len(result.accuracy.attempts) == 1 and result.accuracy.reached
    assert np.max(result.error["f"]) > 1e-3


def test_exact_outputs_are_left_alone():
    exact = tensorprog.compile("width n\nvector v : [n] ~ normal(0, 1)\noutput moment(tanh(v)**2) as q")
    result = exact.run(error=1e-6)
    assert result.accuracy.reached and len(result.accuracy.attempts) == 1
    tiny = exact.run(error=1e-300)
    assert not tiny.accuracy.reached and "not of samples" in tiny.accuracy.text()


class Model:
    """Runs that take `seconds` times replicates times samples**cost, with errors `size` / work**power, by a clock of their own."""

    def __init__(self, monkeypatch, power: float, seconds: float, size: float = 1.0, cost: float = 1.0):
        self.time, self.power, self.seconds, self.size, self.cost, self.runs = 0.0, power, seconds, size, cost, []
        monkeypatch.setattr("tensorprog.accuracy.time.monotonic", lambda: self.time)

    def __call__(self, samples: int, replicates: int) -> Result:
        self.runs.append((samples, replicates))
        self.time += self.seconds * samples**self.cost * replicates
        return Result({"q": np.array(1.0)}, {"q": np.array(self.size * (samples * replicates) ** -self.power)},
                      {"q": "particles"}, settings={"samples": samples, "replicates": replicates})


@pytest.mark.parametrize("power", [0.5, 0.75, 1.0])
def test_few_attempts(monkeypatch, power):
    model = Model(monkeypatch, power, 1e-9)
    result = reach(model, 1e-4, 64, 8, 600)
    assert result.accuracy.reached and len(model.runs) <= 5
    done = [s * r for s, r in model.runs]
    assert done == sorted(done) and all(b >= LEAST * a * 0.99 for a, b in zip(done, done[1:]))
    assert sum(done) <= 4 * (1e-4 ** (-1 / power))


def test_a_budget(monkeypatch):
    model = Model(monkeypatch, 0.5, 1e-4)
    result = reach(model, 1e-6, 1024, 8, 60)
    assert not result.accuracy.reached and model.time <= 66
    assert "budget of 60 s" in result.accuracy.text()
    assert result.accuracy.attempts[-1].ratio > 1


@pytest.mark.parametrize("cost", [1.0, 1.4, 2.0])
@pytest.mark.parametrize("first", [64, 512])
def test_matrices_cost_more_than_samples(monkeypatch, cost, first):
    """The rank of matrices grows with the samples: a budget holds all the same, and the time that is said to be missing is right."""
    model = Model(monkeypatch, 0.5, 1.0 / (8 * first**cost), cost=cost)
    accuracy = reach(model, 1e-4, first, 8, 60).accuracy
    assert not accuracy.reached and 20 < model.time <= 66
    last = accuracy.attempts[-1]
    wanted = (last.ratio / 0.8) ** 2
    samples = min(2 ** 15 / last.samples, wanted)
    assert accuracy.forecast == pytest.approx(last.seconds * samples**cost * wanted / samples, rel=1.0)
    assert "does not suffice for more (about " in accuracy.text()


@pytest.mark.parametrize("second", [np.inf, 0.5])
def test_infinite_errors_are_not_small(monkeypatch, second):
    """A finite value with an infinite error is not known; what diverges has no error to be made small."""
    errors = iter([np.inf, second, *[1e-9] * 9])

    def run(samples: int, replicates: int) -> Result:
        return Result({"q": np.array([1.0, np.inf])}, {"q": np.array([next(errors), np.nan])}, {"q": "particles"},
                      settings={"samples": samples, "replicates": replicates})

    accuracy = reach(run, 1e-3, 64, 8, 600).accuracy
    assert accuracy.reached and len(accuracy.attempts) == 3


def test_errors_that_do_not_fall(monkeypatch):
    model = Model(monkeypatch, 0.0, 1e-4, 0.5)
    assert not reach(model, 1e-3, 1024, 8, 60).accuracy.reached
    assert model.time <= 66


@pytest.mark.parametrize("options", [{"error": 0}, {"error": -1}, {"error": float("nan")}, {"error": {"q": "x"}}, {"error": True},
                                     {"error": 1e-3, "budget": 0}, {"error": 1e-3, "replicates": 1}])
def test_what_makes_no_sense(program, options):
    with pytest.raises(ProgramError, match="TP735"):
        program.run({"X": X}, **options)
    with pytest.raises(ProgramError, match="TP730"):
        program.run({"X": X}, error={"los": 1e-3}, samples=64)


@pytest.mark.slow
def test_four_times_the_samples_have_half_the_error(program):
    """On average over seeds, because errors scatter."""
    errors = []
    for samples in (256, 1024):
        found = [program.run({"X": X}, samples=samples, seed=seed).error["loss"] for seed in range(6)]
        errors.append(np.sqrt(np.mean(np.square(found))))
    assert errors[1] < 0.65 * errors[0]


def test_the_advice(program):
    advice = twice_as_accurate(program.run({"X": X}, samples=256), 30.0)
    assert "--samples 1024" in advice and "2 min instead of 30 s" in advice


def test_no_advice_where_errors_are_rounding(program):
    result = program.run({"X": X}, samples=256)
    result.error.update({name: np.full_like(error, 3e-18) for name, error in result.error.items()})
    assert twice_as_accurate(result, 30.0) is None


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.tp").write_text(PROGRAM)
    np.savez("data.npz", X=X)

    def tpc(*arguments: str):
        return CliRunner().invoke(main, ["run", "model.tp", "data.npz", "--samples", "64", *arguments])

    plain = tpc()
    assert plain.exit_code == 0 and re.search(r"for half of that: --samples 256, about .* instead of", plain.stderr)
    assert "half" not in tpc("--json").stderr
    reached = tpc("--error", "1e-3", "--show", "loss[-1]")
    assert reached.exit_code == 0 and "as small as wanted" in reached.stderr
    assert float(reached.stdout.split("+-")[1]) <= 1e-3
    spent = tpc("--error", "1e-9", "--budget", "0.001")
    assert spent.exit_code == 1 and "budget of 0.001 s" in spent.stderr
    assert tpc("--error", "0").exit_code == 2


@pytest.mark.parametrize("width, samples", [(4, 4096), (400, 1024)])
def test_long_runs_have_fewer_samples(width, samples):
    """By what is counted, not by time: many rows with many directions."""
    text = "width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1/d)\nmatrix W[30] : [n, n] ~ normal(0, 1/n)\n"
    text += "for a in range(P):\n    h[a] = U @ X[a]\n    for l in range(30):\n        h[a] = tanh(W[l] @ relu(h[a]))\n"
    text += "    f[a] = moment(h[a]**4)\n"
    program = tensorprog.compile(text + "output f\n")
    env, _, _ = program._prepare({"X": np.random.default_rng(0).standard_normal((width, 40))}, {})
    assert usual_samples(program.compiled, env, "particles", None) == samples
