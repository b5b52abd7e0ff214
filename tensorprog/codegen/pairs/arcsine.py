"""Polynomials for the arcsine and the covariance of |u|, in m = |c| and u = sqrt(1 - m).

    asin(m)                                = pi/2 - pi u ANGLE(m)
    (2/pi) (sqrt(1 - m**2) + m asin(m))    = m + 2 u**3 FOLD(m)

ANGLE and FOLD are analytic on (-1, 3), and Chebyshev fits on [0, 1] of degree 16 and 14 leave errors (with their
factors u and u**3) below 5.6e-16 and 7.2e-16. The coefficients, constant first, are those of mpmath's
`chebyfit(f, [0, 1], degree + 1)` at 60 digits, for ANGLE those of (ANGLE(m) - 1/2)/m, so that asin(0) is exactly 0;
`tests/test_pair_kernels.py` compares them with mpmath's arcsine.

    asin(s) = s + s**3 ODD(s**2)    for s <= 1/2, and asin(m) = pi/2 - 2 asin(sqrt((1 - m)/2)) above

is exact to rounding also relative to small m. ODD is a fit on [0, 1/4] of degree 12 with an error below 2e-17.
"""

import math

ANGLE = (
    0.5, -0.06830988618378843, 0.02834505690695403, -0.016167854917557716, 0.010721083350204127,
    -0.007758532963638658, 0.0059429627344641375, -0.004734021574653964, 0.00386659057177647, -0.0031751212404503857,
    0.00253150643841821, -0.0018567583534707596, 0.0011704611758723243, -0.0005873606685952667,
    0.00021426433798848622, -4.966581921582817e-05, 5.434284247440462e-06,
)
FOLD = (
    0.31830988618378997, -0.022535170723989355, 0.005985979662043538, -0.0024647086022944707, 0.0012691541571003809,
    -0.0007480234225888492, 0.00048190944575366405, -0.00032884892369733186, 0.00022951074083170383,
    -0.00015538092407099325, 9.474064629276642e-05, -4.759119143315928e-05, 1.77562343596143e-05,
    -4.259650286158452e-06, 4.850872244559667e-07,
)
#: sinh(x) / x in powers of x**2: the error for |x| <= 1/2 is below 1e-17.
SINH = tuple(1 / math.factorial(2 * k + 1) for k in range(8))
ODD = (
    0.16666666666666669, 0.07499999999998433, 0.04464285714635543, 0.030381944138531247, 0.02237217294214989,
    0.017352392720869973, 0.013971212973552933, 0.011479177415184906, 0.01032281435018578, 0.005457506718640358,
    0.01740087944269402, -0.014851887071247204, 0.028757851367421566,
)


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
