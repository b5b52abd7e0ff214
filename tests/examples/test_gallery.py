"""The gallery: every entry has what a reader needs, and its limit shows the phenomenon that its README speaks of."""

from __future__ import annotations

import importlib
import re
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

import tensorprog
from tensorprog.cli import main

GALLERY = ROOT / "examples" / "gallery"
ENTRIES = sorted(path.parent.name for path in GALLERY.glob("*/experiment.py"))
LARGEST_PICTURE = 100_000


@pytest.fixture
def entry(monkeypatch):
    """Imports the experiment of an entry as `run.py` does; what it imported is forgotten afterwards."""
    monkeypatch.syspath_prepend(GALLERY)
    before = set(sys.modules)
    yield lambda name: importlib.import_module(f"{name}.experiment")
    for name in set(sys.modules) - before:
        if str(GALLERY) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def readme(name: str) -> str:
    return (GALLERY / name / "README.md").read_text(encoding="utf-8")


def text_blocks(name: str) -> list[str]:
    return re.findall(r"^```text\n(.*?)^```$", readme(name), re.M | re.S)


# --- every entry -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_complete(name):
    text = readme(name)
    assert re.search(r"arXiv \d{4}\.\d{5}", text)
    assert "**What the paper says.**" in text and "**What the limit shows.**" in text
    assert f"]({name}.png)" in text
    assert (GALLERY / name / f"{name}.png").stat().st_size < LARGEST_PICTURE
    overview = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert f"(gallery/{name}/{name}.png)" in overview and f"(gallery/{name}/README.md)" in overview


def test_the_overview_has_nothing_else():
    overview = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"\(gallery/(\w+)/README\.md\)", overview))) == ENTRIES


@pytest.mark.parametrize("path", sorted(GALLERY.glob("*/*.tp")), ids=lambda path: path.stem)
def test_programs_are_free_of_warnings_and_laid_out(path):
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 0 and "warning" not in result.output, result.output
    assert CliRunner().invoke(main, ["fmt", "--check", str(path)]).exit_code == 0


@pytest.mark.quick("grokking", "kernels", "xor")
@pytest.mark.parametrize("name", [name for name in ENTRIES if len(text_blocks(name)) == 2])
def test_formulas_of_the_readme_are_derived(name):
    program = re.search(r"`tpc derive (\S+)`", readme(name))[1]
    derived = {line.strip() for line in tensorprog.compile(ROOT / program).limit.text().splitlines()}
    assert {line.strip() for line in text_blocks(name)[0].splitlines() if line.strip()} <= derived


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_numbers_of_the_readme_are_found(name, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(GALLERY)
    run = importlib.import_module("run")
    picture = tmp_path / "picture.png"
    command, _, shown = text_blocks(name)[-1].partition("\n")
    assert command == f"$ python examples/gallery/run.py {name}"
    found = run.report(name, picture)
    assert found.split()[0] == shown.split()[0]
    numbers = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
    np.testing.assert_allclose([float(x) for x in numbers.findall(found)], [float(x) for x in numbers.findall(shown)],
                               rtol=0.05, atol=0.02)
    assert picture.stat().st_size > 10_000


def test_the_command_runs_an_entry(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(GALLERY)
    run = importlib.import_module("run")
    monkeypatch.setattr(run.load("isometry").experiment, "__defaults__", ((1, 2),))
    monkeypatch.setattr(sys, "argv", ["run.py", "isometry", "--folder", str(tmp_path)])
    run.main()
    assert "gaussian" in capsys.readouterr().out and (tmp_path / "isometry.png").exists()


# --- the phenomena ---------------------------------------------------------------------------------------------


def test_early_deficits_are_permanent_in_deep_networks_only(entry):
    found = entry("critical_periods").experiment(onsets=(0, 75))["relative"]
    early, late = found["deep"]
    assert early < 0.05 and late > 0.7
    assert found["first layers alone"].min() > 0.5


def test_sums_are_memorized_long_before_they_are_generalized(entry):
    found = entry("grokking").experiment(samples=256, replicates=1, steps=600)
    assert found["trained on"][50] == 1 and found["held out"][100] < 0.1
    assert found["held out"][-1] > 0.9


def test_neurons_are_amplified_towards_features(entry):
    experiment = entry("xor")
    found = experiment.experiment(samples=1024, replicates=2, width=256)
    before, after = experiment.concentration(found["limit"]["neurons"])
    assert abs(before - 0.5) < 0.05 and after > 0.95
    assert found["right"] == 1.0 and found["fitted"] < 1.0
    assert abs(experiment.concentration(found["network"]["neurons"])[1] - after) < 0.05


def test_the_head_weights_features_by_the_correlation_of_views(entry):
    experiment = entry("projection_head")
    found = experiment.experiment()
    np.testing.assert_allclose(found["behind the head"][-1], experiment.KEPT, atol=0.01)
    assert abs(found["before the head"][-1, 1] - np.sqrt(0.5)) < 0.1
    assert found["before the head"][-1, 2] > 0.9 * found["before the head"][0, 2]


def test_orthogonal_layers_keep_all_lengths(entry):
    found = entry("isometry").experiment(depths=(1, 4, 16))
    for depth, limit in zip(found["depths"], found["limits"]):
        assert abs(float(limit["orthogonal_second"]) - 1) < 1e-12
        assert abs(float(limit["gaussian_second"]) - (depth + 1)) < 1e-10 * depth
    network = found["networks"][1]
    assert abs(float(network["gaussian_second"]) - 5) < 5 * float(network.error["gaussian_second"])


def test_an_easy_feature_starves_another(entry):
    found = entry("starvation").experiment(samples=512, replicates=2)
    alone, beside = (found[name]["margin_hard"][-1] for name in ("alone", "beside an easy one"))
    assert alone > 4 * beside > 0


def test_relu_learns_what_says_nothing_about_the_label(entry):
    experiment = entry("contamination")
    found = experiment.experiment(samples=512, replicates=2)
    assert found["relu"]["contaminated"][-1] > 20 * found["relu"]["contaminated"][0]
    np.testing.assert_allclose(found["linear"]["contaminated"], found["linear"]["contaminated"][0], rtol=1e-6)
    relu, linear = experiment.margins(found["relu"]), experiment.margins(found["linear"])
    assert relu[-1] < 0.5 * relu[0] and abs(linear[-1] - linear[0]) < 0.01 * linear[0]


@pytest.mark.slow
def test_three_layers_find_the_quadratic_in_a_target_of_degree_four(entry):
    found = entry("hierarchical").experiment()
    assert found["error"][-1] < 0.4 * found["kernel regime"]
    before, after = found["feature"]
    assert after > 2 * before


def test_oscillation_learns_weak_features(entry):
    found = entry("oscillation").experiment(samples=512, replicates=2)
    assert found[1.0]["by_weak"][-1] > 5 * max(found[rate]["by_weak"][-1] for rate in (0.05, 0.2, 0.5))
    assert np.std(found[1.0]["by_strong"][-20:]) > 5 * np.std(found[0.05]["by_strong"][-20:])


@pytest.mark.slow
def test_mixup_learns_rare_features(entry):
    found = entry("mixup").experiment()
    share = {name: limit["by_rare"][-1] / limit["by_common"][-1] for name, limit in found.items()}
    assert min(share["midpoint mixup"], share["mixup, 0.3 and 0.7"]) > 1.5 * share["without mixup"]
    assert found["midpoint mixup"]["by_rare"][-1] > 1.5 * found["without mixup"]["by_rare"][-1]


@pytest.mark.slow
def test_alignment_rises_with_the_layer_and_with_training(entry):
    experiment = entry("alignment")
    found = experiment.experiment(replicates=2)
    for layers in experiment.DEEPER:
        assert (np.diff(found["exact"][layers]) > 0).all()
    assert (found["trained"][30] > found["exact"][experiment.LAYERS]).all()
    assert (np.diff(found["trained"][30]) > 0).all()


@pytest.mark.slow
def test_weak_shortcuts_align_features_at_equal_loss(entry):
    experiment = entry("shortcuts")
    found = experiment.experiment()
    then = {weight: int(np.argmax(losses < experiment.REACHED)) for weight, losses in found["loss"].items()}
    assert all(step > 0 for step in then.values())
    assert found["alignment"][0.6][then[0.6]] > found["alignment"][1.0][then[1.0]]
    assert found["rank"][0.6][then[0.6]] < found["rank"][1.0][then[1.0]]


def test_learning_rates_transfer_in_depth_if_blocks_are_scaled(entry):
    experiment = entry("depth_transfer")
    found = experiment.experiment(samples=128, replicates=1, depths=(2, 8))
    best = {name: [experiment.best(curve) for curve in curves.values()] for name, curves in found.items()}
    scaled, plain = best.values()
    assert abs(scaled[0] - scaled[1]) <= 1 and plain[0] - plain[1] >= 2


def test_infinite_depth_is_found_from_shallower_networks(entry):
    limit = entry("infinite_depth").experiment()["limit"]
    assert abs(float(limit["square"]) - np.e) < 3 * float(limit.error["square"]) < 1e-3


def test_features_tell_digits_apart_better_than_kernels(entry):
    found = entry("kernels").experiment(samples=256, replicates=2)
    assert found["right"]["muP"] > found["right"]["NTK"] > 0.85
    assert found["alignment"]["muP"] > 0.95 > 0.9 > found["alignment"]["NTK"]
    assert found["alignment"]["muP, before training"] < 0.9
