"""Points and weights for E f(x), x standard normal in two or three dimensions, where functions may be singular at the
origin, and for smooth functions in three."""

from __future__ import annotations

import math

import numpy as np

from tensorprog.runtime.compiling import njit

_REACH = 12.0  # the mass beyond is 4e-33
_X, _W = np.polynomial.legendre.leggauss(16)
_ROOT = math.sqrt(2.0 * math.pi)
_GRADES = 4.0 ** -np.arange(-1, 8)  # distances from a kink at which panels end: functions may vary fast near one


@njit(cache=True)
def refinement_error(difference, before, size):
    """The error of the finest of three rules, from its difference to the one before, and the difference `before`.

    That of a geometric series with their ratio where both are small and it converges fast, otherwise the difference; at
    least rounding. `size` is the integral of the absolute value.
    """
    fast = 0.0 < before <= 1e-4 * size and difference < 0.1 * before
    return max(difference * difference / before if fast else difference, 1e-15 * size)


@njit(cache=True)
def trapezoid_points(level):
    """The trapezoidal rule with step 3/4 * 2**-level in each of three dimensions; points [P, 3] and weights [P].

    Its error for a function analytic in a strip of half-width w falls as exp(-2 pi w / step), for entire ones faster
    (Trefethen and Weideman, SIAM Review 56, 2014, theorem 5.1), so it needs fewer points than the Gauss-Hermite rule.
    """
    spacing = 0.75 * 0.5**level
    half = int(_REACH / spacing)
    count = 2 * half + 1
    points = np.empty((count**3, 3))
    weights = np.empty(points.shape[0])
    for p in range(points.shape[0]):
        rest, weight = p, 1.0
        for j in range(3):
            x = (rest % count - half) * spacing
            weight *= spacing * math.exp(-0.5 * x * x) / _ROOT
            rest //= count
            points[p, j] = x
        weights[p] = weight
    return points, weights


@njit(cache=True)
def _panels(breaks, low, high, width):
    """Gauss-Legendre nodes and weights on [low, high], split at `breaks` and into panels of at most `width`."""
    inside = np.sort(breaks[(breaks > low) & (breaks < high)])
    ends = np.empty(inside.size + 2)
    ends[0], ends[-1] = low, high
    ends[1:-1] = inside
    counts = np.maximum(np.ceil((ends[1:] - ends[:-1]) / width), 1.0).astype(np.int64)
    x = np.empty(np.sum(counts) * _X.size)
    w = np.empty(x.size)
    at = 0
    for i in range(counts.size):
        half = 0.5 * (ends[i + 1] - ends[i]) / counts[i]
        for j in range(counts[i]):
            middle = ends[i] + (2 * j + 1) * half
            x[at:at + _X.size] = middle + half * _X
            w[at:at + _X.size] = half * _W
            at += _X.size
    return x, w


@njit(cache=True)
def _radii(planes, direction, level, power):
    """Radii and weights for the density of the length of a normal vector along `direction`, split at the planes."""
    breaks = np.empty(planes.shape[0] + _GRADES.size)
    breaks[planes.shape[0]:] = _GRADES
    for i in range(planes.shape[0]):
        slope = 0.0
        for j in range(direction.size):
            slope += planes[i, j] * direction[j]
        # A plane that the ray does not meet: -1 lies outside of the range, and splits nothing.
        breaks[i] = -planes[i, -1] / slope if slope != 0.0 else -1.0
    r, w = _panels(breaks, 0.0, _REACH, 4.0 * 0.5**level)
    # The volume element of polar coordinates: r in the plane, r**2 in space.
    return r, w * r**power * np.exp(-0.5 * r * r)


@njit(cache=True)
def _append(store, weights, used, direction, r, w):
    """Write the points r * direction behind the first `used`; the stores double when they are full."""
    while used + r.size > weights.size:
        grown = np.empty((2 * weights.size, store.shape[1]))
        grown[:used] = store[:used]
        grown_weights = np.empty(2 * weights.size)
        grown_weights[:used] = weights[:used]
        store, weights = grown, grown_weights
    for j in range(direction.size):
        store[used:used + r.size, j] = r * direction[j]
    weights[used:used + r.size] = w
    return store, weights, used + r.size


@njit(cache=True)
def _directions(planes):
    """The angles of lines through the origin, both ways."""
    angles = np.empty((planes.shape[0], 2))
    for i in range(planes.shape[0]):
        # The line a x + b y = 0 has the direction (-b, a).
        angle = math.atan2(planes[i, 0], -planes[i, 1])
        angles[i, 0] = angle % (2.0 * math.pi)
        angles[i, 1] = (angle + math.pi) % (2.0 * math.pi)
    return angles.ravel()


@njit(cache=True)
def _plane_points(planes, level):
    store, weights, used = np.empty((4096, 2)), np.empty(4096), 0
    angles, angle_weights = _panels(_directions(planes), 0.0, 2.0 * math.pi, 0.5 * math.pi * 0.5**level)
    direction = np.empty(2)
    for a in range(angles.size):
        direction[0], direction[1] = math.cos(angles[a]), math.sin(angles[a])
        r, w = _radii(planes, direction, level, 1)
        store, weights, used = _append(store, weights, used, direction, r, w * angle_weights[a] / (2.0 * math.pi))
    return store[:used], weights[:used]


@njit(cache=True)
def _crossings(planes):
    """First coordinates at which lines cross, and of the lines parallel to the second axis."""
    count = planes.shape[0]
    found = np.full((count, count), np.inf)
    for i in range(count):
        if planes[i, 1] == 0.0 and planes[i, 0] != 0.0:
            found[i, i] = -planes[i, 2] / planes[i, 0]
        for j in range(i):
            cross = planes[i, 0] * planes[j, 1] - planes[i, 1] * planes[j, 0]
            if cross != 0.0:
                # Cramer's rule.
                found[i, j] = (planes[i, 1] * planes[j, 2] - planes[j, 1] * planes[i, 2]) / cross
    return found.ravel()


@njit(cache=True)
def _grid_points(planes, level):
    """For lines that miss the origin: the second coordinate is split at the lines, the first where they cross."""
    store, weights, used = np.empty((4096, 2)), np.empty(4096), 0
    width = 4.0 * 0.5**level
    x, outer = _panels(_crossings(planes), -_REACH, _REACH, width)
    breaks = np.empty(planes.shape[0])
    for a in range(x.size):
        for i in range(planes.shape[0]):
            slope = planes[i, 1]
            breaks[i] = -(planes[i, 0] * x[a] + planes[i, 2]) / slope if slope != 0.0 else np.inf
        y, w = _panels(breaks, -_REACH, _REACH, width)
        w = w * np.exp(-0.5 * (y * y + x[a]**2)) * outer[a] / _ROOT**2
        first = used
        store, weights, used = _append(store, weights, used, np.array([0.0, 1.0]), y, w)
        store[first:used, 0] = x[a]
    return store[:used], weights[:used]


@njit(cache=True)
def _longitudes(planes):
    """Longitudes at which great circles meet each other or run through the poles."""
    count = planes.shape[0]
    found = np.full(2 * count + 2 * count * count, -1.0)
    for i in range(count):
        angle = math.atan2(planes[i, 0], -planes[i, 1])
        found[2 * i] = angle % (2.0 * math.pi)
        found[2 * i + 1] = (angle + math.pi) % (2.0 * math.pi)
        for j in range(i):
            # Two great circles meet in the direction of the cross product of their normals.
            x = planes[i, 1] * planes[j, 2] - planes[i, 2] * planes[j, 1]
            y = planes[i, 2] * planes[j, 0] - planes[i, 0] * planes[j, 2]
            if x != 0.0 or y != 0.0:
                angle = math.atan2(y, x)
                at = 2 * count + 2 * (i * count + j)
                found[at] = angle % (2.0 * math.pi)
                found[at + 1] = (angle + math.pi) % (2.0 * math.pi)
    return found


@njit(cache=True)
def _colatitudes(planes, longitude):
    """Colatitudes at which the meridian of a longitude meets the great circles."""
    found = np.empty(planes.shape[0])
    for i in range(planes.shape[0]):
        across = planes[i, 0] * math.cos(longitude) + planes[i, 1] * math.sin(longitude)
        # across sin(t) + c cos(t) = 0 at the colatitude t.
        found[i] = math.atan2(-planes[i, 2], across) % math.pi
    return found


@njit(cache=True)
def _space_points(planes, level):
    store, weights, used = np.empty((65536, 3)), np.empty(65536), 0
    longitudes, outer = _panels(_longitudes(planes), 0.0, 2.0 * math.pi, math.pi * 0.5**level)
    direction = np.empty(3)
    for a in range(longitudes.size):
        colatitudes, middle = _panels(_colatitudes(planes, longitudes[a]), 0.0, math.pi, math.pi * 0.5**level)
        for b in range(colatitudes.size):
            across = math.sin(colatitudes[b])
            direction[0] = across * math.cos(longitudes[a])
            direction[1] = across * math.sin(longitudes[a])
            direction[2] = math.cos(colatitudes[b])
            r, w = _radii(planes, direction, level, 2)
            # sin(colatitude) is the area element of the sphere.
            w = w * (outer[a] * middle[b] * across / _ROOT**3)
            store, weights, used = _append(store, weights, used, direction, r, w)
    return store[:used], weights[:used]


@njit(cache=True)
def kink_points(planes, level):
    """Points [P, d] and weights [P] for a function that is smooth but for kinks on planes, and one at the origin.

    `planes` [k, d + 1] holds the rows (a, b) of the planes a x + b = 0. In two and three dimensions the integral runs
    over directions and radii, so that functions homogeneous along rays are no harder than smooth ones, but for lines
    that miss the origin over both coordinates. `level` halves panels.
    """
    if planes.shape[1] == 3:
        return _grid_points(planes, level) if np.any(planes[:, 2] != 0.0) else _plane_points(planes, level)
    return _space_points(planes, level)
