"""The limit of every program with a known answer, by the default evaluator."""

import numpy as np
import pytest
from known_answers import KNOWN, disagreements

import tensorprog

F2_RIGHT, F2_MISPRINTED, F2_DECOUPLED = 0.8123104, 0.81693, 0.72056


@pytest.mark.slow_cases("two_hidden_tanh", "tanh_two_hidden_two_steps")
@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_literals_agree_with_their_derivation(case):
    assert disagreements(case) == []


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_limit(case):
    result = tensorprog.compile(case.path).run(case.data, method="particles", **case.settings)
    for name, (value, tolerance) in case.expected.items():
        value, found, error = np.array(value, dtype=float), np.array(result[name]), np.array(result.error[name])
        assert found.shape == value.shape, name
        assert np.all(np.isfinite(found)), name
        excess = np.abs(found - value) - (4 * error + 1e-3 + tolerance)
        assert np.all(excess <= 0), f"{name}: {found} +- {error}, expected {value}"


def test_second_step_takes_the_latest_response_into_account():
    """Tensor Programs IV prints the sum in Theorem 6.4 without its last term, which gives .81693 instead of .81231."""
    case = next(case for case in KNOWN if case.name == "tanh_two_hidden_two_steps")
    result = tensorprog.compile(case.path).run(case.data, samples=2**14, replicates=8, method="particles",
                                                 **case.settings)
    found, error = float(result["f"][2]), float(np.array(result.error["f"])[2])
    assert 4 * error < abs(F2_MISPRINTED - F2_RIGHT) / 2
    assert abs(found - F2_RIGHT) <= 4 * error + 1e-4
    assert abs(found - F2_MISPRINTED) > 4 * error
    assert abs(found - F2_DECOUPLED) > 4 * error
