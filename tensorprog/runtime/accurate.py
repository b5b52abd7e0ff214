"""Products and their differences without cancellation, compiled by Numba."""

from __future__ import annotations

from tensorprog.runtime.compiling import njit

_SPLITTER = 134217729.0  # 2**27 + 1


@njit(cache=True)
def product_error(a, b, product):
    """a*b - product to the last bit (Dekker 1971)."""
    # Halves of 26 bits, whose products are exact (Veltkamp's splitting).
    a_high = _SPLITTER * a - (_SPLITTER * a - a)
    b_high = _SPLITTER * b - (_SPLITTER * b - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(cache=True)
def minor(a, b, c, d):
    """a b - c d without cancellation."""
    first, second = a * b, c * d
    # Where the rounded products cancel, their difference is exact (Sterbenz), and only their errors are missing.
    return (first - second) + (product_error(a, b, first) - product_error(c, d, second))
