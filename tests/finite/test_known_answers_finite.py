"""The programs with a known answer at a finite width: the interpreter must come close to the limit."""

import numpy as np
import pytest
from known_answers import KNOWN

import tensorprog

WIDTH, SEEDS = 1000, 16

# At a saddle point: f returns to 0 exactly in the limit, and the error of a finite network grows fourfold per step.
UNSTABLE = {"linear_mup_eta1.0"}


@pytest.mark.slow_cases("momentum_matrix", "deep_linear_three_steps", "deep_linear_one_step", "tied_linear", "relu_ntk",
                        "two_hidden_tanh", "lasso_amp", "z2_amp", "weight_decay", "backward_loop", "rectangular_double",
                        "tanh_two_hidden_two_steps", "tanh_two_hidden_one_step", "tanh_two_hidden_one_step_eta0.5",
                        "copy_diverges", "word_embedding", "momentum_vector")
@pytest.mark.parametrize("case", [c for c in KNOWN if c.name not in UNSTABLE], ids=lambda case: case.name)
def test_finite_width(case):
    result = tensorprog.compile(case.path).simulate(case.data, width=WIDTH, seeds=SEEDS, **case.settings)
    for name, (value, tolerance) in case.expected.items():
        value, found, error = np.array(value, dtype=float), np.array(result[name]), np.array(result.error[name])
        assert found.shape == value.shape, name
        scale = max(1.0, np.max(np.abs(value)))
        excess = np.abs(found - value) - (5 * error + 20 / WIDTH * scale + tolerance)
        assert np.all(excess <= 0), f"{name}: {found} +- {error}, expected {value}"
