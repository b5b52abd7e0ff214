"""Means over networks extrapolated to infinite width, and the powers of the width with which they get there.

Arrays are [K, S, J]: K widths, S independent networks of each, J numbers that each of them gives. The mean over
networks of width n is m(n) = m + b n^-p + ..., with noise of variance s^2/(n S). `extrapolate` estimates m without
knowing the limit, so that comparing the two is a test of the limit in which no bias has to be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Probabilities that chi-squared is as large as it is: above the first, a bias describes the means; above the second, it
# may be the true one.
DESCRIBES, POSSIBLE = 0.1, 0.01

# Rounding in sums over coordinates, relative to the largest value and absolute: what is exact is known this well.
ROUNDING = 1e-12, 1e-14

# The powers that are tried, and the relative error below which squares count as exact.
POWERS = np.linspace(-3.0, 1.0, 801)
RESOLUTION = 1e-6

# A share of the largest square that is none.
NEGLIGIBLE = 1e-100


@dataclass(frozen=True)
class Estimate:
    """Numbers with errors: `value`, `variance` of its error and that variance's degrees of freedom, each [J]."""

    value: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray

    def first(self, count: int) -> Estimate:
        """The first `count` of the numbers."""
        return Estimate(self.value[:count], self.variance[:count], self.freedom[:count])


@dataclass(frozen=True)
class PowerFit:
    """A fit `size n^exponent`, with the standard error of the exponent."""

    exponent: float
    error: float
    size: float


# --- the limit of the means ------------------------------------------------------------------------------------


def biases(power: float | None = None) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Rows of biases, each the powers of 1/n that it consists of.

    The first of the first row that describes the means is taken, and its error includes the distance to the others that
    are possible; the second row is for when none does. Smooth functions of averages have whole powers. The absolute
    value of something that vanishes has n^-1/2, which small widths hardly tell from 1/n.

    Args:
        power: for a number known to vanish, the power of 1/n with which it does.
    """
    if power is None:
        return ((1.0,), (0.5,), (1.0, 2.0)), ((1.0, 2.0), (0.5, 1.0))
    return ((power,), (power, power + 1)), ((power, power + 1), (power, power + 0.5))


def extrapolate(widths: Sequence[int], samples: np.ndarray, power: float | None = None) -> Estimate:
    """What the means over networks tend to, by weighted least squares with a bias among `biases(power)`.

    Args:
        samples: [K, S, J], finite, with K >= 4 and S >= 3.
    """
    n = np.asarray(widths, dtype=float)
    smooth, variances = noise(n, samples)
    rows = [_fit_row(n, samples.mean(axis=1), smooth, variances, row) for row in biases(power)]
    value, parts, unsure, described = (np.stack(part) for part in zip(*rows, strict=True))
    pick = (np.where(described.any(axis=0), described.argmax(axis=0), 1), np.arange(samples.shape[2]))
    sampling = parts[pick].sum(axis=1)
    # Degrees of freedom of a sum of variances by Welch and Satterthwaite, here over widths.
    freedom = sampling ** 2 / (parts[pick] ** 2).sum(axis=1) * (samples.shape[1] - 1)
    return Estimate(value[pick], sampling + unsure[pick], freedom)


def _fit_row(n: np.ndarray, means: np.ndarray, smooth: np.ndarray, variances: np.ndarray,
             row: tuple[tuple[float, ...], ...]) -> tuple[np.ndarray, ...]:
    """Value [J], its variance by width [J, K], its square distance from other possible ones [J], and whether a bias of
    the row describes the means [J]."""
    fits = [_fit(n, means, smooth, variances, bias) for bias in row]
    value, parts, probability = (np.stack(part) for part in zip(*fits, strict=True))
    describes = probability > DESCRIBES
    described = np.asarray(describes.any(axis=0))
    pick = (describes.argmax(axis=0), np.arange(means.shape[1]))
    possible = (probability > POSSIBLE) | ~described
    unsure = (possible * (value - value[pick]) ** 2).max(axis=0)
    return value[pick], parts[pick], unsure, described


def noise(n: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of the means, [K, J]: smoothed over widths by a power law, and the larger of smoothed and own ones.

    A variance from a few networks may be far too small; with the larger one, errors are rather too large.
    """
    seeds = samples.shape[1]
    floor = _floor(samples)
    own = np.maximum(samples.var(axis=1, ddof=1) / seeds, floor)
    # The mean of the logarithm of chi-squared / f is about -1/f.
    smooth = np.maximum(_power_law(n, own) * np.exp(1 / (seeds - 1)), floor)
    return smooth, np.maximum(own, smooth)


def _floor(samples: np.ndarray) -> np.ndarray:
    """The variance of rounding errors, [J]."""
    relative, absolute = ROUNDING
    return (relative * np.abs(samples).max(axis=(0, 1)) + absolute) ** 2


def concentrates(widths: Sequence[int], samples: np.ndarray) -> np.ndarray:
    """Whether networks scatter less the wider they are, [J]; if not, these widths are too small to extrapolate from.

    The standard deviation should fall as n^-1/2; what falls more slowly than n^-1/4 does not count.
    """
    n = np.asarray(widths, dtype=float)
    smooth, _ = noise(n, samples)
    first, last = smooth[n.argmin()], smooth[n.argmax()]
    return (last <= first * np.sqrt(n.min() / n.max())) | (last <= 2 * _floor(samples))


def keeps_scattering(widths: Sequence[int], samples: np.ndarray, level: float) -> np.ndarray:
    """Whether networks scatter nearly as much at the largest width as at the smallest: there may be no limit, [J].

    The exponent of the variance, -1 near a limit, is above -1/2, and not by chance: see `concentrates`.

    Args:
        level: the probability at which a single number that has a limit may be found to have none.
    """
    from scipy.special import ndtri

    n, seeds = np.log(np.asarray(widths, dtype=float)), samples.shape[1]
    centred = samples - samples.mean(axis=1, keepdims=True)
    variances = np.maximum((centred**2).mean(axis=1), _floor(samples))
    slope = (n - n.mean()) @ np.log(variances) / ((n - n.mean())**2).sum()
    # The logarithm of a variance from S numbers of kurtosis k has variance (k - 1)/S.
    kurtosis = ((centred**4).mean(axis=1) / variances**2).mean(axis=0)
    error = np.sqrt(np.maximum(kurtosis - 1, 0.0) / (seeds - 1) / ((n - n.mean())**2).sum())
    above_floor = variances[int(n.argmax())] > 2 * _floor(samples)
    return above_floor & (slope > np.maximum(-0.5, -1 - ndtri(level) * error))


def _power_law(n: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Positive `values`, [K, ...], smoothed by a straight line in log-log coordinates."""
    basis = np.stack([np.ones_like(n), np.log(n)], axis=1)
    flat = np.log(values.reshape(len(n), -1))
    return np.exp(basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]).reshape(values.shape)


def _fit(n: np.ndarray, means: np.ndarray, smooth: np.ndarray, variances: np.ndarray,
         bias: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """The fit of `m + sum_i b_i n^-bias_i`: m [J], the variance that each width adds to it [J, K], and the probability
    of such a chi-squared [J]."""
    from scipy.special import chdtrc

    # Relative to the smallest width, so that the columns are of one size.
    basis = (n.min() / n)[:, None] ** np.array([0.0, *bias])
    weights = 1 / np.sqrt(smooth.T)
    solve = np.linalg.pinv(weights[:, :, None] * basis) * weights[:, None, :]
    parameters = np.einsum("jpk,kj->jp", solve, means)
    residuals = means.T - parameters @ basis.T
    chi_squared = ((weights * residuals) ** 2).sum(axis=1)
    return parameters[:, 0], solve[:, 0, :] ** 2 * variances.T, chdtrc(len(n) - basis.shape[1], chi_squared)


def significance(estimate: Estimate, limit: Estimate, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The difference in joint standard errors, how many of them are allowed, and the joint error: each [J].

    Args:
        level: the probability at which a single right number may exceed what is allowed (Student's t).
    """
    from scipy.special import stdtrit

    variance = estimate.variance + limit.variance
    # Welch and Satterthwaite again, of two independent variances.
    freedom = variance ** 2 / (estimate.variance ** 2 / estimate.freedom + limit.variance ** 2 / limit.freedom)
    error = np.sqrt(variance)
    return np.abs(estimate.value - limit.value) / error, stdtrit(freedom, 1 - level / 2), error


# --- powers of the width ---------------------------------------------------------------------------------------


def distance_of_networks(samples: np.ndarray, limit: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """The mean square distance of a single network from the limit, with its standard error: each [K]."""
    squares = ((samples - limit.value) ** 2 - limit.variance).mean(axis=2)
    return squares.mean(axis=1), squares.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])


def distance_of_means(samples: np.ndarray, limit: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """The mean square distance of the exact mean over networks from the limit, with its jackknife error: each [K].

    Unbiased: products of two different networks are averaged, so that noise does not add to it; it may be negative.
    """
    seeds = samples.shape[1]
    distances = samples - limit.value
    total, squares = distances.sum(axis=1), (distances ** 2).sum(axis=1)

    def pairs(total: np.ndarray, squares: np.ndarray, count: int) -> np.ndarray:
        return ((total ** 2 - squares) / (count * (count - 1)) - limit.variance).mean(axis=-1)

    without = pairs(total[:, None] - distances, squares[:, None] - distances ** 2, seeds - 1)
    spread = (without - without.mean(axis=1, keepdims=True)) ** 2
    return pairs(total, squares, seeds), np.sqrt((seeds - 1) / seeds * spread.sum(axis=1))


def fit_power(widths: Sequence[int], squares: np.ndarray, errors: np.ndarray) -> PowerFit | None:
    """The power of n at which a root mean square falls, from its squares and their standard errors, each [K].

    Squares may be negative. None if they do not resolve a power to within 1/2: nothing to be seen above the noise.
    """
    n = np.asarray(widths, dtype=float)
    if squares.max() < ROUNDING[0] ** 2:
        return None
    # As shares of the largest, so that no weight overflows where networks of one width are within rounding of the limit.
    size = squares.max()
    squares, errors = squares / size, errors / size
    weights = 1 / _power_law(n, np.maximum(errors, RESOLUTION * np.abs(squares) + NEGLIGIBLE)) ** 2
    shapes = (n / n.min()) ** (2 * POWERS[:, None])
    scales = np.maximum(shapes @ (weights * squares) / (shapes ** 2 @ weights), 0)
    chi_squared = (weights * (squares - scales[:, None] * shapes) ** 2).sum(axis=1)
    best = int(chi_squared.argmin())
    badness = max(1.0, chi_squared[best] / max(len(n) - 2, 1))
    # Where chi-squared is one above its minimum, an exponent is a standard error off; more if even the best does not
    # fit.
    near = POWERS[chi_squared <= chi_squared[best] + badness]
    error = float(near[-1] - near[0]) / 2
    if near[0] == POWERS[0] or near[-1] == POWERS[-1] or error > 0.5:
        return None
    exponent = float(POWERS[best])
    return PowerFit(exponent, error, float(np.sqrt(size * scales[best]) / n.min() ** exponent))
