"""Haar measure: g times a uniformly random orthogonal matrix. If it is not square, its rows or columns are orthogonal,
whichever are fewer, and its singular values are all g. The limit: `runtime/haar.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorprog.ensembles.ensemble import Arguments, Ensemble, combined, number
from tensorprog.ir.program import ConstExpr, MatrixType

if TYPE_CHECKING:
    import numpy as np


def _variance(args: Arguments, type: MatrixType) -> ConstExpr:
    """The squares of the entries add up to g**2 times the smaller width, and there are m n of them."""
    widths = [ConstExpr("width", leaf=name, span=args[0].span) for name in dict.fromkeys((type.rows, type.cols))]
    larger = widths[0] if len(widths) == 1 else combined("max", *widths)
    return combined("/", combined("**", args[0], number(2, args)), larger)


def _draw(rng: np.random.Generator, args: list[float], shape: tuple[int, int]) -> np.ndarray:
    """Q of the QR decomposition of a normal matrix is uniform if R has a positive diagonal (Mezzadri, "How to generate random
    matrices from the classical compact groups", 2007)."""
    import numpy as np

    rows, cols = max(shape), min(shape)
    q, r = np.linalg.qr(rng.standard_normal((rows, cols)))
    q *= args[0] * np.sign(np.diagonal(r))
    return q if shape == (rows, cols) else np.ascontiguousarray(q.T)


ORTHOGONAL = Ensemble("orthogonal", ("g",), _variance, _draw, operator="haar_matrix", orthogonal=True,
                      spread={0: 1})
