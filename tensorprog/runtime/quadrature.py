"""E of a function of one to three jointly Gaussian variables, by adaptive quadrature, nested over the variables.

Every line is cut at the *planes* where the integrand may have a kink, jump or feature of a known width, and from there on
in panels that grow by a factor, so that a function that varies on the scale 1 is resolved whatever the variance: the number
of panels grows with the logarithm of the ratio. Positions are kept as distances from the nearest plane, in the natural
variable, whose rounding is then that of the feature's scale and not of the Gaussian's. Panels are bisected where the 21-point
Gauss-Kronrod rule differs from its 10 points (QUADPACK; Piessens et al., 1983), and errors of inner integrals are added up.

The most spread variable is taken first, and equal ones in their order, so that symmetric kernels are symmetric.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from tensorprog.runtime.accurate import minor
from tensorprog.runtime.compiling import KernelOptions, njit
from tensorprog.runtime.pointers import address_intrinsic, call, call_intrinsic, published

# The Gauss-Kronrod pair of 10 and 21 points on [-1, 1]: nodes and weights of one half, of which the odd ones are the 10.
_HALF = np.array([
    0.995657163025808080735527280689003, 0.973906528517171720077964012084452, 0.930157491355708226001207180059508,
    0.865063366688984510732096688423493, 0.780817726586416897063717578345042, 0.679409568299024406234327365114874,
    0.562757134668604683339000099272694, 0.433395394129247190799265943165784, 0.294392862701460198131126603103866,
    0.148874338981631210884826001129720])
_HALF_FINE = np.array([
    0.011694638867371874278064396062192, 0.032558162307964727478818972459390, 0.054755896574351996031381300244580,
    0.075039674810919952767043140916190, 0.093125454583697605535065465083366, 0.109387158802297641899210590325805,
    0.123491976262065851077958109585166, 0.134709217311473325928054001771707, 0.142775938577060080797094273138717,
    0.147739104901338491374841515972068])
_HALF_COARSE = np.zeros(10)
_HALF_COARSE[1::2] = [
    0.066671344308688137593568809893332, 0.149451349150580593145863397657697, 0.219086362515982043995534934228163,
    0.269266719309996355091226921569469, 0.295524224714752870173815619188769]
_NODES = np.concatenate([-_HALF, [0.0], _HALF[::-1]])
_FINE = np.concatenate([_HALF_FINE, [0.149445554002916905664936468389821], _HALF_FINE[::-1]])
_COARSE = np.concatenate([_HALF_COARSE, [0.0], _HALF_COARSE[::-1]])
#: Where a panel far from the mean is looked at.
_PROBES = np.array([-0.98, -0.7, -0.2, 0.4, 0.98])

#: Ends of panels in standard deviations; the density is 0 in floating point numbers beyond the last.
_ENDS = np.array([3.0, 6.0, 9.0, 13.0, 19.0, 27.0, 38.5])
#: Panels from here on are looked at only if something is there.
_FAR = 9.0
#: By what panels grow with the distance from a plane.
_GROWTH = 3.0
#: Panels of a line at most, and anchors (planes and the mean).
_MOST_PANELS, _MOST_ANCHORS = 320, 24
#: Relative errors at which panels are not bisected any more, for inner and outer integrals.
_INNER, _OUTER = 1e-13, 1e-12
#: The least relative error that is ever reported, for rounding.
_ROUNDING = 5e-16
_ROOT = math.sqrt(2.0 * math.pi)
_OPTIONS: KernelOptions = {"cache": True, "nogil": True, "error_model": "numpy"}

# What the integrals over all variables share: addresses of the factors and of `_integral`, numbers, the place of the
# variables among them, the order of the variables, the Cholesky factor, planes, their coefficients, then for each
# level anchors, values at nodes, cuts and panels.
_TABLE, _BLOCK = types.float64[:, ::1], types.float64[:, :, ::1]
_STATE = types.Tuple((types.int64[::1], types.float64[::1], types.int64, types.int64[::1], _TABLE, _TABLE, _TABLE, _BLOCK,
                      _BLOCK, _BLOCK, _BLOCK))
_INTEGRAL = types.UniTuple(types.float64, 3)(types.int64, _STATE)
_integral_address = address_intrinsic(_INTEGRAL)
_integral_at = call_intrinsic(_INTEGRAL)
@njit(**_OPTIONS)
def _factor(covariance, order, determinant):
    """The Cholesky factor of a covariance matrix [d, d] whose variables are taken in an order, with all the digits that
    there are; `determinant` is that of the first two of them if it is known better than from its entries, else NaN."""
    size = len(order)
    chol = np.zeros((size, size))
    rest = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            rest[i, j] = covariance[order[i], order[j]]
    for k in range(size):
        pivot = rest[k, k]
        # A variable that the earlier ones determine: `_at_mean` takes it at its mean.
        if not pivot > 0.0:
            continue
        chol[k, k] = math.sqrt(pivot)
        for i in range(k + 1, size):
            chol[i, k] = rest[i, k] / chol[k, k]
        for i in range(k + 1, size):
            for j in range(k + 1, i + 1):
                if i != j:
                    rest[i, j] = minor(rest[i, j], pivot, rest[i, k], rest[j, k]) / pivot
        for i in range(k + 1, size):
            known = k == 0 and i == 1 and determinant >= 0.0
            left = determinant if known else minor(rest[i, i], pivot, rest[i, k], rest[i, k])
            rest[i, i] = max(left / pivot, 0.0)
    return chol


@njit(**_OPTIONS)
def _largest_first(covariance):
    """The variables by falling variance; equal ones stay in order."""
    order = np.arange(len(covariance))
    for i in range(1, len(order)):
        for j in range(i, 0, -1):
            a, b = order[j - 1], order[j]
            if covariance[b, b] > covariance[a, a]:
                order[j - 1], order[j] = b, a
    return order


@njit(**_OPTIONS)
def _in_deviations(planes, chol, order):
    """The planes' coefficients [planes, d] on the standardized variables."""
    size = len(order)
    rows = np.zeros((len(planes), size))
    for p in range(len(planes)):
        for k in range(size):
            rows[p, k] = planes[p, size + k]
            for j in range(k, size):
                rows[p, k] += planes[p, order[j]] * chol[j, k]
    return rows


@njit(**_OPTIONS)
def _anchor(plane, row, order, chol, level, mean, z, start):
    """Where a plane cuts a line, as (distance from the mean, natural variable, width); infinitely wide if it does not.

    What the later variables add blurs it for an outer integral.
    """
    size = len(order)
    blur = 0.0
    # Later variables are still random here; they smooth a kink over their spread.
    for j in range(level + 1, size):
        blur += row[j] * row[j]
    slope = row[level]
    if slope == 0.0:
        return 0.0, mean, math.inf
    spread = chol[level, level]
    width = spread * math.sqrt(plane[2 * size + 1]**2 + blur) / abs(slope)
    natural = blur == 0.0 and plane[order[level]] != 0.0
    for k in range(size):
        natural = natural and plane[size + k] == 0.0
    total = plane[2 * size]
    if natural:
        for j in range(level):
            total += plane[order[j]] * z[start + order[j]]
        place = -total / plane[order[level]]
        return place - mean, place, width
    for j in range(level):
        total += row[j] * z[start + size + j]
    distance = -spread * total / slope
    return distance, mean + distance, width


@njit(types.int64(_TABLE, types.int64, types.float64, types.int64, types.float64), **_OPTIONS)
def _insert(cuts, count, place, anchor, offset):
    """Puts a cut (distance from the mean, anchor, distance from it) at its place; returns the new count."""
    if count >= len(cuts):
        return count
    at = count
    while at > 0 and cuts[at - 1, 0] > place:
        cuts[at, 0], cuts[at, 1], cuts[at, 2] = cuts[at - 1, 0], cuts[at - 1, 1], cuts[at - 1, 2]
        at -= 1
    cuts[at, 0], cuts[at, 1], cuts[at, 2] = place, anchor, offset
    return count + 1


@njit(**_OPTIONS)
def _cut(cuts, anchors, count, spread):
    """Fills `cuts` for the anchors [count], of which the first is the mean; returns how many there are."""
    last = _ENDS[-1] * spread
    found = 0
    for end in _ENDS:
        found = _insert(cuts, found, -end * spread, 0, -end * spread)
        found = _insert(cuts, found, end * spread, 0, end * spread)
    for i in range(1, count):
        place, width = anchors[i, 0], anchors[i, 2]
        found = _insert(cuts, found, place, i, 0.0)
        offset = width
        while 0.0 < offset < 3.0 * spread:
            if place - offset > -last:
                found = _insert(cuts, found, place - offset, i, -offset)
            if place + offset < last:
                found = _insert(cuts, found, place + offset, i, offset)
            offset *= _GROWTH
    kept = 1
    for i in range(1, found):
        gap = cuts[i, 0] - cuts[kept - 1, 0]
        if cuts[i, 2] == 0.0 and cuts[kept - 1, 2] != 0.0 and gap < 0.3 * abs(cuts[kept - 1, 2]) and kept > 1:
            kept -= 1  # a plane takes the place of an end that is near
        elif not (gap > 0.3 * abs(cuts[i, 2]) or i == found - 1):
            continue
        cuts[kept, 0], cuts[kept, 1], cuts[kept, 2] = cuts[i, 0], cuts[i, 1], cuts[i, 2]
        kept += 1
    return kept


@njit(**_OPTIONS)
def _evaluate(level, panel, nodes, spread, state, found):
    """The integrand times the density at nodes of a panel: found[0]; the errors, found[1], and the integrals of the
    absolute value, found[2], where the integrand is an integral itself."""
    addresses, z, start, order = state[0], state[1], state[2], state[3]
    size, anchors = len(order), state[7]
    anchor, half, middle = int(panel[0]), 0.5 * (panel[2] - panel[1]), 0.5 * (panel[2] + panel[1])
    distance, place = anchors[level, anchor, 0], anchors[level, anchor, 1]
    address, again, last = addresses[level], addresses[size], level == size - 1
    at, standard_at = start + order[level], start + size + level
    for k in range(len(nodes)):
        offset = middle + half * nodes[k]
        natural, standard = place + offset, (distance + offset) / spread
        weight = math.exp(-0.5 * standard * standard) / (_ROOT * spread)
        z[at], z[standard_at] = natural, standard
        factor = call(address, natural, z) if address != 0 and weight > 0.0 else 1.0
        factor = factor * weight if weight > 0.0 else 0.0
        found[0, k], found[1, k], found[2, k] = factor, 0.0, abs(factor)
        if not last and factor != 0.0:
            value, error, absolute = _integral_at(again, level + 1, state)
            found[0, k], found[1, k], found[2, k] = factor * value, abs(factor) * error, abs(factor) * absolute


@njit(**_OPTIONS)
def _panel(level, panel, spread, state):
    """Integrates over a panel (anchor, low, high, ...), whose other entries are value, estimate, error, size."""
    found = state[8][level]
    _evaluate(level, panel, _NODES, spread, state, found)
    fine, coarse, error, size, scatter = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(_NODES)):
        fine += _FINE[k] * found[0, k]
        coarse += _COARSE[k] * found[0, k]
        error += _FINE[k] * found[1, k]
        size += _FINE[k] * found[2, k]
    for k in range(len(_NODES)):
        scatter += _FINE[k] * abs(found[0, k] - 0.5 * fine)
    difference = abs(fine - coarse)
    if scatter > 0.0 and difference > 0.0:
        # QUADPACK's scaling: for smooth functions, the error of the finer rule is far below the difference of the two.
        difference = scatter * min(1.0, (200.0 * difference / scatter)**1.5)
    half = 0.5 * (panel[2] - panel[1])
    panel[3], panel[4], panel[5], panel[6] = half * fine, half * difference, half * error, half * size


@njit(**_OPTIONS)
def _look(level, panel, spread, state):
    """The largest value times width at a few points of a panel."""
    found, largest = state[8][level], 0.0
    _evaluate(level, panel, _PROBES, spread, state, found)
    for k in range(len(_PROBES)):
        largest = max(largest, found[2, k])
    return largest * (panel[2] - panel[1])


@njit(**_OPTIONS)
def _panels(panels, cuts, anchors, count):
    """Fills in the panels between cuts, each with the distances of its ends from the nearer one's anchor."""
    used = min(count - 1, len(panels) // 2)
    for i in range(used):
        a, b = int(cuts[i, 1]), int(cuts[i + 1, 1])
        apart = anchors[b, 1] - anchors[a, 1] if a > 0 and b > 0 else anchors[b, 0] - anchors[a, 0]
        if abs(cuts[i, 2]) <= abs(cuts[i + 1, 2]):
            panels[i, 0], panels[i, 1], panels[i, 2] = a, cuts[i, 2], cuts[i + 1, 2] + apart
        else:
            panels[i, 0], panels[i, 1], panels[i, 2] = b, cuts[i, 2] - apart, cuts[i + 1, 2]
        panels[i, 3], panels[i, 4], panels[i, 5], panels[i, 6] = 0.0, 0.0, 0.0, 0.0
    return used


@njit(**_OPTIONS)
def _place(level, mean, spread, state):
    """The anchors of a line; returns their number."""
    z, start, order, chol, planes, rows = state[1:7]
    anchors = state[7][level]
    anchors[0, 0], anchors[0, 1], anchors[0, 2] = 0.0, mean, spread
    count = 1
    for p in range(len(planes)):
        found = _anchor(planes[p], rows[p], order, chol, level, mean, z, start)
        if abs(found[0]) < _ENDS[-1] * spread and found[2] <= 3.0 * spread and count < len(anchors):
            anchors[count, 0], anchors[count, 1], anchors[count, 2] = found
            count += 1
    return count


@njit(**_OPTIONS)
def _first_pass(level, panels, used, spread, state):
    """Integrates over the panels, those far from the mean only if something is there."""
    size = 0.0
    anchors = state[7][level]
    for far in (False, True):
        for i in range(used):
            middle = anchors[int(panels[i, 0]), 0] + 0.5 * (panels[i, 1] + panels[i, 2])
            if (abs(middle) > _FAR * spread) != far:
                continue
            # What is below this adds nothing to a sum in double precision.
            if not far or not _look(level, panels[i], spread, state) < 1e-19 * size:
                _panel(level, panels[i], spread, state)
                size += panels[i, 6]


@njit(**_OPTIONS)
def _sums(panels, used):
    value, estimate, error, size = 0.0, 0.0, 0.0, 0.0
    for i in range(used):
        value += panels[i, 3]
        estimate += panels[i, 4]
        error += panels[i, 5]
        size += panels[i, 6]
    return value, estimate, error, size


@njit(**_OPTIONS)
def _worst(panels, used):
    found = 0
    for i in range(1, used):
        if panels[i, 4] > panels[found, 4]:
            found = i
    return found


@njit(**_OPTIONS)
def _at_mean(level, mean, state):
    """The integral over a variable that is known."""
    addresses, z, start, order = state[0], state[1], state[2], state[3]
    z[start + order[level]], z[start + len(order) + level] = mean, 0.0
    factor = call(addresses[level], mean, z) if addresses[level] != 0 else 1.0
    if level == len(order) - 1 or factor == 0.0:
        return factor, 0.0, abs(factor)
    value, error, size = _integral_at(addresses[len(order)], level + 1, state)
    return factor * value, abs(factor) * error, abs(factor) * size


@njit(**_OPTIONS)
def _integral(level, state):
    """E over the variables from `level` on, given the earlier ones: (value, error, E of the absolute value)."""
    z, start, order, chol = state[1:5]
    mean = 0.0
    for j in range(level):
        mean += chol[level, j] * z[start + len(order) + j]
    spread = chol[level, level]
    if not spread > 0.0:
        return _at_mean(level, mean, state)
    cuts, panels = state[9][level], state[10][level]
    count = _cut(cuts, state[7][level], _place(level, mean, spread, state), spread)
    used = _panels(panels, cuts, state[7][level], count)
    _first_pass(level, panels, used, spread, state)
    # Errors of inner integrals are noise for outer ones, which could not converge below them.
    tolerance = _INNER if level > 0 else _OUTER
    settled, stuck = 0.0, 0
    value, estimate, error, size = _sums(panels, used)
    while estimate > tolerance * size and used < len(panels) and stuck < 8:
        worst = _worst(panels, used)
        before, old = panels[worst, 4], panels[worst, 3]
        middle = 0.5 * (panels[worst, 1] + panels[worst, 2])
        # There is no number between the ends: the estimate is moved to the error, and the panel left.
        if panels[worst, 2] - panels[worst, 1] <= 1e-14 * abs(middle):
            settled += before
            panels[worst, 4] = 0.0
        else:
            panels[used, 0], panels[used, 1], panels[used, 2] = panels[worst, 0], middle, panels[worst, 2]
            panels[worst, 2] = middle
            _panel(level, panels[worst], spread, state)
            _panel(level, panels[used], spread, state)
            after = panels[worst, 4] + panels[used, 4]
            change = abs(panels[worst, 3] + panels[used, 3] - old)
            # Rounding, as QUADPACK detects it: a bisection has changed neither the value nor the estimate.
            stuck += 1 if after > 0.9 * before and change <= 1e-5 * abs(old) else 0
            used += 1
        value, estimate, error, size = _sums(panels, used)
    return value, estimate + settled + error + _ROUNDING * size, size


@njit(**_OPTIONS)
def _state(addresses, covariance, order, determinant, planes, numbers):
    """What the integrals over all levels share."""
    size = len(order)
    z = np.zeros(len(numbers) + 2 * size)
    z[:len(numbers)] = numbers
    chol = _factor(covariance, order, determinant)
    return (addresses, z, len(numbers), order, chol, planes, _in_deviations(planes, chol, order),
            np.empty((size, _MOST_ANCHORS, 3)), np.empty((size, 3, len(_NODES))),
            np.empty((size, 4 * _MOST_PANELS, 3)), np.empty((size, _MOST_PANELS, 7)))


@njit(**_OPTIONS)
def _expectation(addresses, covariance, determinant, planes, numbers, free):
    size = len(covariance)
    order = _largest_first(covariance) if free else np.arange(size)
    ordered = np.empty(size + 1, np.int64)
    for k in range(size):
        # A factor that reads all variables, which is the last, is met when the last of them is known.
        ordered[k] = addresses[order[k]] if addresses[0] else addresses[k]
    ordered[size] = _integral_address(_integral)
    # By its address: called with a literal 0, all that it calls would be compiled once more.
    value, error, _ = _integral_at(ordered[size], 0, _state(ordered, covariance, order, determinant, planes, numbers))
    return value, error


_EXPECTATION = types.UniTuple(types.float64, 2)(types.int64[::1], _TABLE, types.float64, _TABLE, types.float64[::1],
                                                types.boolean)
_by_name = published("tensorprog_gaussian_expectation", _EXPECTATION, _expectation)


@njit(**_OPTIONS)
def gaussian_expectation(address, covariance, planes, numbers, free):
    """E f of up to three Gaussian variables, and an error that comes from comparing two rules.

    Args:
        address: of f, called as f(_, z), z holding `numbers`, the variables, then the standardized variables.
        covariance: [d, d].
        planes: [planes, 2 d + 2]: coefficients of the variables, of the standardized ones, a constant and a width. The
            integrand may have a kink where the sum is 0, or vary where it is about the width.
        numbers: what else the integrand depends on.
        free: whether the variables may be taken in any order, which those of an integrand that reads the standardized
            ones must not be: these are the variables times the inverse Cholesky factor.
    """
    addresses = np.zeros(len(covariance), np.int64)
    addresses[-1] = address
    return _by_name(addresses, covariance, math.nan, planes, numbers, free)


@njit(**_OPTIONS)
def pair_expectation(first, second, qa, qb, c, determinant, features_first, features_second, numbers):
    """E[first(u) second(v)] for Gaussian (u, v) of variances qa, qb and covariance c, as (value, error).

    Args:
        first, second: addresses (`address_of`) of functions of (x, numbers).
        determinant: qa qb - c**2 if it is known better than from these numbers, otherwise NaN.
        features_first, features_second: [features, 2]: where in its variable a function has a kink or jump (width 0), or
            varies on the scale of the width, as tanh(x / 3 - 1) does at 3 on the scale 3. A function may vary more
            slowly with the distance from a feature.
        numbers: passed on to both, with more behind them.
    """
    covariance = np.empty((2, 2))
    covariance[0, 0], covariance[1, 1], covariance[0, 1], covariance[1, 0] = qa, qb, c, c
    count = len(features_first)
    planes = np.zeros((count + len(features_second), 6))
    for k in range(len(planes)):
        side, feature = (0, features_first[k]) if k < count else (1, features_second[k - count])
        planes[k, side], planes[k, 4], planes[k, 5] = 1.0, -feature[0], feature[1]
    addresses = np.empty(2, np.int64)
    addresses[0], addresses[1] = first, second
    return _by_name(addresses, covariance, determinant, planes, numbers, True)
