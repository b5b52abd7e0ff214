"""Inferred scales of every name: against the closed theory of perceptrons, and against slopes of finite networks."""

from __future__ import annotations

import json
import random
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from places import EXAMPLES
from scaled_programs import RNN, parametrized, perceptron, transformer

import tensorprog
from tensorprog import ProgramError
from tensorprog.abc import Parametrization, classify, named
from tensorprog.cli import main
from tensorprog.powers.measure import _slope
from tensorprog.powers.scale import InferredSize

HALF = Fraction(1, 2)
DATA = {"X": np.array([[1.0, 0.5], [-0.4, 1.2]]), "y": np.array([1.0, -1.0])}


def powers(program: str, stage: str) -> dict:
    """The powers of values and changes at a stage."""
    found = tensorprog.compile(program).scale()
    return {n.name: (n.sizes[stage].power, n.changes[stage].power if stage in n.changes else None)
            for n in found.names.values() if stage in n.sizes}


def stable_parametrization(depth: int, seed: int) -> Parametrization:
    """Random exponents that Theorem 3.3 of TP IV calls stable, with features and outputs that move by any power."""
    draw = random.Random(seed)
    while True:
        step = draw.choice([HALF, Fraction(1, 3), Fraction(1, 4)])
        a = [step * draw.randint(-3, 3) for _ in range(depth + 1)]
        spreads = [Fraction(0), *[HALF] * (depth - 1), HALF + step * draw.randint(0, 3)]
        c = step * draw.randint(-3, 6)
        found = classify(Parametrization.of(a, [s - x for s, x in zip(spreads, a)], c))
        if found.stable and max(found.r_l) <= 2 and found.layers[-1].r <= 1:
            return found.parametrization


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("seed", range(15))
def test_random_parametrizations_are_as_the_classification_says(depth, seed):
    p = stable_parametrization(depth, seed)
    found = classify(p)
    program = parametrized(p.a, p.b, p.c[0])
    first, later = powers(program, "init"), powers(program, "later")
    spread = p.a[-1] + p.b[-1]
    assert first["f"][0] == HALF - spread
    for layer in found.layers[:-1]:
        assert first[f"h{layer.number}"][0] == later[f"h{layer.number}"][0] == 0
        assert later[f"h{layer.number}"][1] == -layer.moves
    assert later["f"][1] == max(-found.layers[-1].r, 1 - spread - found.r)


@pytest.mark.parametrize("name, depth, r", [("SP", 2, HALF), ("NTP", 3, HALF), ("MFP", 1, 0), ("muP", 3, 0)])
def test_table_1_of_tp4(name, depth, r):
    p = named(name, depth)
    found = powers(parametrized(p.a, p.b, p.c[0]), "later")
    assert found[f"h{depth}"] == (0, -r) and found["f"] == (0, 0)


@pytest.mark.parametrize("depth", [1, 2])
def test_unstable_updates_blow_up_by_minus_r(depth):
    p = named("SP", depth)
    p = Parametrization.of(p.a, p.b, Fraction(0))
    found = tensorprog.compile(parametrized(p.a, p.b, 0)).scale()
    assert found["f"].changes["one step"].power == -classify(p).layers[-1].r == 1
    assert found[f"h{depth}"].sizes["later"].verdict in ("grows", "undecided")


@pytest.mark.parametrize("depth, seed", [(1, 4), (2, 3)])
def test_slopes_of_random_parametrizations(depth, seed):
    p = stable_parametrization(depth, seed)
    program = tensorprog.compile(parametrized(p.a, p.b, p.c[0]))
    found = program.scale(DATA, measure=True, widths=(32, 64, 128, 256), seeds=8, tolerance=0.25, T=3)
    assert found.passed, found.to_text()
    assert all(size.settled for name in found.names.values() for size in name.changes.values())
    assert found["h1"].changes["later"].slope.exponent == pytest.approx(float(-classify(p).layers[0].moves), abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("seed", range(15))
def test_slopes_of_thirty_parametrizations_at_large_widths(depth, seed):
    """Widths 128 to 4096: every slope is the inferred power, or on its way there from that of a named smaller part."""
    p = stable_parametrization(depth, seed)
    program = tensorprog.compile(parametrized(p.a, p.b, p.c[0]))
    found = program.scale(DATA, measure=True, widths=(128, 256, 512, 1024, 2048, 4096), seeds=4, tolerance=0.15, T=3)
    assert found.passed, found.to_text()


@pytest.mark.parametrize("name", ["adam", pytest.param("muon", marks=pytest.mark.slow)])
def test_slopes_of_functions_of_matrices(name):
    program = tensorprog.compile(EXAMPLES / f"{name}.tp")
    with np.load(EXAMPLES / "data" / "batch.npz") as data:
        found = program.scale(dict(data), measure=True, widths=(32, 64, 128, 256), seeds=8, tolerance=0.15, T=3)
    assert found.passed, found.to_text()
    inferred = found["G"].sizes["later"]
    assert inferred.power == (0 if name == "adam" else -1)
    assert inferred.slope.exponent == pytest.approx(float(inferred.power), abs=0.05)


@pytest.mark.parametrize("update", [
    "W2 *= 1 - eta/10\n    W2 -= eta * grad(loss[t], W2)", "W2 -= eta * (grad(loss[t], W2) + 0.1*W2)",
    "W2 = (1 - 0.1*eta)*W2 - eta * grad(loss[t], W2)", "W2 *= 0.9999\n    W2 -= eta * grad(loss[t], W2)"])
def test_weight_decay_is_a_change(update):
    """A shrinking matrix changes by as much as its entries are, and a small decay shows late beside the gradients."""
    text = tensorprog.compile(perceptron(2)).mup("sgd").rewritten()
    program = tensorprog.compile(text.replace("W2 -= eta * grad(loss[t], W2)", update))
    found = program.scale(DATA, measure=True, widths=(32, 64, 128, 256), seeds=4, tolerance=0.2, T=3)
    assert found["W2"].changes["later"].power == -HALF and found["h2"].changes["later"].power == 0
    assert found.passed, found.to_text()


@pytest.mark.parametrize("clip", ["min(1, 1/sqrt(s))", "1 / max(1, sqrt(s))", "min(sqrt(1/s), 1)"])
def test_clipping_below_a_norm_that_grows(clip):
    """A threshold that does not grow with the norm clips every gradient of a wide network."""
    text = perceptron(2)
    updates = text[text.index("    U -= "):text.index("output")]
    steps = "".join(f"    g{w} = grad(loss[t], {w})\n" for w in ("U", "W2", "v"))
    steps += f"    s = dot(gU, gU) + dot(gW2, gW2) + dot(gv, gv)\n    c[t] = {clip}\n"
    steps += "".join(f"    {w} -= eta * c[t] * g{w}\n" for w in ("U", "W2", "v"))
    found = tensorprog.compile(text.replace(updates, steps)).scale(DATA, measure=True, widths=(64, 128, 256), seeds=4,
                                                                   tolerance=0.2, T=2)
    at_first = found["c"].sizes["init"]
    assert at_first.power == -HALF and at_first.agrees and at_first.settled, found.to_text()


@pytest.mark.parametrize("law", ["orthogonal(1)", "symmetric_normal(0, 1/n)"])
def test_slopes_of_ensembles(law):
    text = tensorprog.compile(perceptron(2)).mup("sgd").rewritten()
    program = tensorprog.compile(text.replace("W2 : [n, n] ~ normal(0, 1/n)", f"W2 : [n, n] ~ {law}"))
    found = program.scale(DATA, measure=True, widths=(32, 64, 128, 256), seeds=6, tolerance=0.2, T=3)
    change = found["W2"].changes["later"]
    assert found.passed, found.to_text()
    assert change.power == -1 and change.slope.exponent == pytest.approx(-1, abs=0.1)


def is_maximal(p: Parametrization) -> bool:
    """Whether a one-hidden-layer network is stable, updated and initialized maximally, by its inferred scales."""
    found = tensorprog.compile(parametrized(p.a, p.b, p.c[0])).scale()
    later = [found[name].sizes["later"] for name in ("h1", "f")]
    if found["h1"].sizes["init"].power != 0 or any(s.verdict != "inferred" or s.power > 0 for s in later):
        return False
    (first, readout), changes = p.a, [found[name].changes["one step"].power for name in ("U", "v")]
    return changes == [first, readout - 1] and found["v"].sizes["init"].power == readout - 1


def test_every_neighbour_of_mup_is_unstable_or_not_maximal():
    mup = named("muP", 1)
    assert is_maximal(mup)
    exponents = [*mup.a, *mup.b, mup.c[0]]
    for k in range(5):
        for step in (-HALF, HALF):
            a1, a2, b1, b2, c = [e + step * (i == k) for i, e in enumerate(exponents)]
            assert not is_maximal(Parametrization.of([a1, a2], [b1, b2], c))


def test_logits_and_the_tied_readout_grow_together_with_training():
    program = tensorprog.compile(transformer(True)).mup("sgd").rewritten()
    assert powers(program, "init")["logit"] == (-HALF, None)
    later = powers(program, "later")
    assert all(later[name] == (0, 0) for name in ("logit", "x", "q", "k", "r", "out", "loss"))


def test_a_recurrent_network_in_mup():
    later = powers(tensorprog.compile(RNN).mup("sgd").rewritten(), "later")
    assert later["h"] == later["out"] == (0, 0) and later["W"] == (-HALF, -1)


def test_a_difference_of_two_steps_is_a_change():
    p = named("NTP", 2)
    program = parametrized(p.a, p.b, p.c[0]).replace(
        "output loss", "moved = moment((h2[T-1, 0] - h2[0, 0])**2)\noutput loss, moved")
    assert powers(program, "later")["moved"][0] == -1


# --- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    path, data = tmp_path / "model.tp", tmp_path / "data.npz"
    path.write_text(tensorprog.compile(perceptron(1)).mup("sgd").rewritten())
    np.savez(data, **DATA)
    return path, data


def run(*arguments: object):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_command_infers_without_data(files):
    result = run("scale", files[0])
    assert result.exit_code == 0 and "change, one step" in result.stdout
    table = json.loads(run("scale", files[0], "--json").stdout)
    assert table["f"]["init"]["power"] == "-1/2" and table["f"]["change"]["later"]["power"] == "0"


def test_command_measures_and_draws(files, tmp_path):
    picture = tmp_path / "scales.png"
    result = run("scale", *files, "--plot", picture, "--widths", "32,64,128", "--seeds", "4", "--json",
                 "--tolerance", "0.3")
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(result.stdout)["h1"]["change"]["later"]["error"] > 0


def test_command_exits_with_1_where_slopes_disagree(tmp_path):
    """What powers of n cannot know: orthogonal data, which make a product of two layers' outputs average to zero."""
    path, data = tmp_path / "model.tp", tmp_path / "data.npz"
    path.write_text("width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1)\n"
                    "overlap = moment((U @ X[0]) * (U @ X[1]))\noutput overlap\n")
    np.savez(data, X=np.eye(2))
    result = run("scale", path, data, "--measure", "--widths", "16,64,256", "--seeds", "80")
    assert result.exit_code == 1 and "overlap (init): 1 [-0." in result.stdout and "disagree" in result.stdout


def test_command_mistakes(files):
    assert run("scale", files[0], "--measure").exit_code == 2
    result = run("scale", *files, "--measure", "--widths", "32,64")
    assert result.exit_code == 2 and "TP724" in result.stderr
    assert run("scale", *files, "--plot", "picture.jpg").exit_code == 2


@pytest.mark.parametrize("command", ["mup", "scale"])
@pytest.mark.parametrize("setting, code", [("foo=1", "TP631"), ("eta=abc", "TP628"), ("eta=nan", "TP628")])
def test_settings_are_checked(files, command, setting, code):
    result = run(command, files[0], "--set", setting)
    assert result.exit_code == 2 and code in result.stderr


def test_data_are_needed_to_measure():
    with pytest.raises(ProgramError, match="TP"):
        tensorprog.compile(perceptron(1)).scale(measure=True, widths=(8, 16, 32), seeds=2)


def test_products_of_a_familys_matrices_converge():
    """The signs of W[l] @ ... @ W[0] @ x alternate with l."""
    program = perceptron(1).replace("vector v", "matrix W[5] : [n, n] ~ normal(0, 1/n)\nvector v").replace(
        "    return dot(v, tanh(h1))", "    for l in range(5):\n        h1 = W[l] @ h1\n    return moment(v * h1)")
    assert powers(program, "init")["h1"] == (0, None)


def test_kernels_have_a_power():
    program = ("width n\nmatrix W : [n, n] ~ normal(0, 1)\nvector u : [n] ~ normal(0, 1)\n"
               "vector v : [n] ~ normal(0, 1)\nf = dot(v, tanh(W @ u / sqrt(n)))\noutput ntk(f, f; W, v) as theta\n")
    assert powers(program, "init")["theta"] == (1, None)


WIDTHS = (32, 64, 128, 256)


def slope_of(size, scatter=0.02, seeds=8):
    """The slope of sizes with some scatter of their logarithms, the same at every width."""
    noise = np.random.default_rng(0).standard_normal(seeds)
    noise = scatter * (noise - noise.mean()) / noise.std()
    return _slope(WIDTHS, [list(size(n) * np.exp(noise)) for n in WIDTHS], 0.15)


@pytest.mark.parametrize("size, power, verdict", [
    (lambda n: n**0.5, Fraction(1, 2), True),
    (lambda n: n**0.0, Fraction(1, 2), False),
    (lambda n: 1 + n / 100, Fraction(1), None),          # one part outgrows another
    (lambda n: n / (1 + n / 100), Fraction(0), None),    # clipped by and by
    (lambda n: n / (1 + n / 100), Fraction(1), False),   # the slope turns away from 1
    (lambda n: n**1.4, Fraction(1), False),
])
def test_slopes_that_still_drift_towards_the_power_are_not_resolved(size, power, verdict):
    found = InferredSize(power, "inferred", power, slope_of(size))
    assert found.agrees is verdict and found.is_not_resolved is (verdict is None)
    assert ("?" in found.text()) is (verdict is None)


@pytest.mark.parametrize("scatter", [0.05, 0.7])
def test_scatter_does_not_excuse_another_power(scatter):
    assert InferredSize(Fraction(1), "inferred", Fraction(1), slope_of(lambda n: n**0.3, scatter=scatter)).agrees is False
