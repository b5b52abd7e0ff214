"""The arcsine by one polynomial, with the root that densities of two Gaussians need as well.

    asin(sqrt(w)) = sqrt(w (1 - w)) (1 + w SERIES(w))    for w in [0, 1/4]

gives asin(m) = m sqrt(1 - m**2) (1 + w SERIES(w)) with w = m**2 for m <= 1/2, exact to rounding also relative to a
small m, and asin(m) = pi/2 - sqrt(1 - m**2) (1 + w SERIES(w)) with w = (1 - m)/2 above. The coefficients, constant
first, are those of mpmath's `chebyfit` of degree 13 on [0, 1/4] at 60 digits; the error of w SERIES(w) is below 2e-17.
`tests/pairs/test_pair_kernels.py` compares them with mpmath's arcsine.
"""

import math

SERIES = (
    0.6666666666666666, 0.5333333333333969, 0.45714285712636055, 0.4063492080287483, 0.36940828044936186,
    0.3409951534220973, 0.3182021665112481, 0.3003277676303172, 0.27625825224361883, 0.32011791720580063,
    0.0301937004653564, 0.9464135631192144, -1.082636309271642, 1.5065232020462775,
)
#: sinh(x) / x in powers of x**2: the error for |x| <= 1/2 is below 1e-17.
SINH = tuple(1 / math.factorial(2 * k + 1) for k in range(8))


def horner(x: str, coefficients: tuple[float, ...]) -> str:
    """A polynomial as source text, split into its even and its odd part: two short chains keep the multipliers busy."""
    square = f"({x}*{x})"
    even, odd = (_chain(square, coefficients[k::2]) for k in range(2))
    return f"({even} + {x}*{odd})"


def _chain(x: str, coefficients: tuple[float, ...]) -> str:
    text = f"f8({coefficients[-1]!r})"
    for coefficient in coefficients[-2::-1]:
        text = f"({text}*{x} + f8({coefficient!r}))"
    return text
