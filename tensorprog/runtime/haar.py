"""A Haar orthogonal matrix as a lazily sampled operator, square or rectangular, like the Gaussian one of `matrices`.

The law of a uniformly random orthogonal O does not change when it is multiplied with orthogonal matrices from either side.
So, given orthonormal pairs O p_k = z_k, it maps what is orthogonal to the p_k to a uniformly random direction among those
orthogonal to the z_k; a direction of the z_k's space comes, the same way, from a random one among those orthogonal to the p_k. One
list serves both sides:

    O @ x    =  sum_k z_k <p_k, x>  +  |r| * zeta,       r = x - sum_k p_k <p_k, x>,   zeta fresh and orthogonal to all z_k
    O.T @ y  =  sum_k p_k <z_k, y>  +  |r| * p',         r = y - sum_k z_k <z_k, y>,   p' fresh and orthogonal to all p_k

For O : [m, n] with m/n = rho > 1 and O.T O = 1 only a part of the larger space is reached. A direction r of it, of which nothing
is known, lies in the range with the share 1/rho: O p' = r/sqrt(rho) + sqrt(1 - 1/rho) zeta (in units of its size), and O.T maps
what is left of r and zeta to 0.
"""

from __future__ import annotations

import numpy as np

from tensorprog.runtime.matrices import Matrix, Side, polished
from tensorprog.runtime.sampling import Space


class Haar:
    """A multiple of a random matrix with orthonormal columns, from the space `cols` to the larger space `rows`.

    Args:
        rows, cols: the sample spaces.
        forward, backward: the variances of `W @ x` and `W.T @ y` for normalized x and y of which nothing is known.
        tolerance: as in `matrices.Gaussian`.

    `sides[0]` holds the pairs (p_k, W p_k), `sides[1].inputs` an orthonormal basis of what is known of the larger space.
    """

    def __init__(self, rows: Space, cols: Space, forward: float, backward: float, tolerance: float | None):
        self.sides = (Side(cols, rows, forward, self), Side(rows, cols, backward, self))
        self.share = forward / backward if backward else 1.0
        self.tolerance = tolerance

    def apply(self, x: np.ndarray, transposed: bool) -> np.ndarray:
        """W @ x (or W.T @ x) for each row of x: [B, N] -> [B, N]."""
        return np.asarray(self.fresh_part(x, transposed) + self.known_part(x, transposed))

    def fresh_part(self, x: np.ndarray, transposed: bool) -> np.ndarray | float:
        """W @ x. Of the transpose nothing but the pairs, which it adds to."""
        coefficients = self.sides[transposed].coefficients(x, self.tolerance)
        return 0.0 if transposed else coefficients @ self.sides[0].outputs.array

    def known_part(self, x: np.ndarray, transposed: bool) -> np.ndarray | float:
        """W.T @ x by the pairs."""
        if not transposed:
            return 0.0
        pairs = self.sides[0]
        return (x @ pairs.outputs.array.T / (self.share * x.shape[1])) @ pairs.inputs.array

    def extend(self, side: Side, directions: np.ndarray) -> None:
        """Draw what the matrix makes of new inputs of a side, [k, N]."""
        pairs, image = self.sides
        new = _fresh(side.target, (pairs if side is image else image).inputs.array, len(directions))
        if side is image:
            pairs.inputs.append(new)
            # share = 1/rho: O p' = sqrt(1/rho) r + sqrt(1 - 1/rho) zeta. With r, zeta spans this and the direction that
            # O.T takes to 0, so that both are known from here on.
            new = np.sqrt(self.share) * directions
            if self.share < 1.0:
                hidden = _fresh(image.source, image.inputs.array, len(directions))
                new = new + np.sqrt(1.0 - self.share) * hidden
                image.inputs.append(hidden)
        else:
            image.inputs.append(new)
        pairs.outputs.append(np.sqrt(pairs.variance) * new)


def _fresh(space: Space, known: np.ndarray, count: int) -> np.ndarray:
    """`count` fresh normal vectors made orthonormal, and orthogonal to the known ones as far as there is room: [count, N]."""
    rows = space.normal(count)
    if len(known) + count < space.samples:
        for _ in range(2):
            # Twice, for rounding.
            rows = rows - (rows @ known.T / space.samples) @ known
        rows = polished(rows)
    return rows


def haar_matrix(rows: Space, cols: Space, variance: float, ratios: tuple[float, float], tolerance: float | None) -> Matrix:
    """A declared orthogonal matrix whose entries have the variance `variance / n`; `ratios` are the widths of rows and columns
    over n."""
    forward, backward = variance * ratios[1], variance * ratios[0]
    wide = ratios[0] < ratios[1]
    # O.T of a tall matrix: a wide one has orthonormal rows.
    root = Haar(cols, rows, backward, forward, tolerance) if wide else Haar(rows, cols, forward, backward, tolerance)
    return Matrix(rows, cols, ratios, tolerance, ((1.0, root, wide),))
