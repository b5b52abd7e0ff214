"""Honest error bars: over 100 seeds the true value lies within two reported errors in 90 to 99 % of cases."""

import numpy as np
import pytest

import tensorprog
from known_answers import KNOWN

# Programs with training, tied weights and responses whose answers are known to many digits.
CASES = ["tanh_two_hidden_two_steps", "two_hidden_tanh", "one_hidden_tanh", "rnn_constant_input", "lasso_amp", "z2_amp",
         "transpose_response", "onsager"]
SEEDS = 100


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in KNOWN if c.name in CASES], ids=lambda c: c.name)
def test_two_errors_cover(case):
    program = tensorprog.compile(case.path)
    hits = []
    for seed in range(SEEDS):
        result = program.run(case.data, seed=5000 + seed, method="particles", **case.settings)
        for name, (value, tolerance) in case.expected.items():
            distance = np.abs(result[name] - np.array(value, dtype=float))
            random = result.error[name] > 1e-12
            hits.append(np.mean((distance <= 2 * result.error[name] + tolerance)[random]) if random.any() else np.nan)
    assert 0.90 <= np.nanmean(hits) <= 0.99
