"""The parts of the run time: samples, laws, lazily sampled matrices, block products, error bars."""

import numpy as np
import pytest
from scipy import stats

import tensorprog.runtime as rt
from tensorprog.runtime.algebra import squares
from tensorprog.runtime.directions import Directions
from tensorprog.runtime.matrices import effective_tolerance
from tensorprog.runtime.replicates import LEVEL, coverage_factor

N = 1024


def space(seed=0, samples=N, mirrored=False):
    return rt.Space(samples, np.random.SeedSequence(seed), mirrored=mirrored)


def mean(x, y):
    return float(x @ y) / len(x)


# --- samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
def test_fresh_normals_are_orthonormal_and_centred(mirrored):
    s = space(mirrored=mirrored)
    rows = np.concatenate([s.normal(3), s.normal(1, mirror=True), s.normal(60)])
    assert np.allclose(rows @ rows.T / N, np.eye(64), atol=1e-12)
    assert np.allclose(rows.mean(axis=1), 0, atol=1e-12)


def test_normals_have_the_law_of_normals():
    rows = space().normal(4)
    for row in rows:
        assert stats.kstest(row, "norm").statistic < 0.01


@pytest.mark.parametrize("mirrored", [False, True])
def test_parts_make_up_the_whole(mirrored):
    """Of every block of coordinates, those of which particles are permuted included."""
    def draw(samples, part=(0, 1)):
        s = rt.Space(samples, np.random.SeedSequence(7), mirrored=mirrored, part=part)
        return [np.unique(s.uniform(200)[index], axis=0) for index in (3, 150) for _ in range(2)]

    parts = zip(*(draw(16, (i, 4)) for i in range(4)))
    assert all(np.array_equal(whole, np.unique(np.concatenate(of))) for whole, of in zip(draw(64), parts))


def test_mirrored_vectors_change_sign_and_others_do_not():
    s = space(mirrored=True)
    plain, flipped = s.normal(1)[0], s.normal(1, mirror=True)[0]
    assert np.allclose(plain[: N // 2], plain[N // 2:])
    assert np.allclose(flipped[: N // 2], -flipped[N // 2:])


def test_more_coordinates_than_a_block_or_than_particles_hold():
    s = space(samples=256)
    rows = np.concatenate([s.normal(100) for _ in range(6)])
    assert rows.shape == (600, 256)
    assert np.all(np.isfinite(rows))
    assert abs(np.mean(rows**2) - 1) < 0.05


def test_samples_follow_from_the_seed():
    assert np.array_equal(space(3).normal(5), space(3).normal(5))
    assert not np.allclose(space(3).normal(5), space(4).normal(5))


@pytest.mark.parametrize(("law", "args", "moments"), [
    ("normal", (0.5, 4.0), (0.5, 4.25)),
    ("rademacher", (), (0.0, 1.0)),
    ("uniform", (-1.0, 2.0), (0.5, 1.0)),
    ("bernoulli", (0.3,), (0.3, 0.3)),
    ("sparse_normal", (0.25, 2.0), (0.0, 0.5)),
    ("constant", (1.5,), (1.5, 2.25)),
    ("zero", (), (0.0, 0.0)),
])
def test_laws(law, args, moments):
    rows = space(samples=4096).draw(law, 2, args)
    assert rows.shape == (2, 4096)
    assert np.allclose(rows.mean(axis=1), moments[0], atol=0.02)
    assert np.allclose((rows**2).mean(axis=1), moments[1], atol=0.05)


# --- matrices ------------------------------------------------------------------------------------------------


def gaussian(variance=1.0, ratios=(1.0, 1.0), tolerance=1e-9, mirrored=False):
    rows, cols = space(1), space(2)
    return rows, cols, rt.gaussian_matrix(rows, cols, variance, ratios, tolerance)


def test_the_product_has_the_covariance_of_the_master_theorem():
    _, cols, W = gaussian(variance=2.0, ratios=(0.5, 1.0))
    x = np.tanh(cols.normal(3))
    y = W.apply(x)
    assert np.allclose(y @ y.T / N, 2.0 * x @ x.T / N, atol=1e-10)


def test_the_transpose_is_the_adjoint():
    rows, cols, W = gaussian(variance=1.5, ratios=(0.5, 1.0))
    x, y = np.tanh(cols.normal(4)), np.sin(rows.normal(3))
    left = W.apply(x)
    right = W.apply(y, transposed=True)
    left = W.apply(x)
    # <y, W x> averages over the rows, half as many as the columns.
    assert np.allclose(0.5 * (left @ y.T) / N, (x @ right.T) / N, atol=1e-10)


def test_applying_is_linear_and_repeatable():
    _, cols, W = gaussian()
    x = np.tanh(cols.normal(2))
    first = W.apply(x)
    assert np.allclose(W.apply(x.copy()), first)
    assert np.allclose(W.apply(2 * x[:1] - 3 * x[1:]), 2 * first[:1] - 3 * first[1:], atol=1e-9)


def test_blocks_and_single_vectors_agree():
    _, cols, W = gaussian()
    x = np.tanh(cols.normal(6)).reshape(2, 3, N)
    together = W.apply(x)
    assert together.shape == (2, 3, N)
    assert np.allclose(W.apply(x[1, 2]), together[1, 2])


def test_copies_share_their_randomness_and_updates_do_not_spread():
    rows, cols, W = gaussian()
    u, x, z = rows.normal(1)[0], np.tanh(cols.normal(1)[0]), np.sin(cols.normal(1)[0])
    copy = W.zero().add(1.0, W)
    updated = W.add_outer(-0.5, u, x)
    fresh = updated.apply(z)
    assert np.allclose(copy.apply(z), W.apply(z))
    assert np.allclose(fresh, W.apply(z) - 0.5 * mean(x, z) * u, atol=1e-10)
    back = updated.apply(u, transposed=True)
    assert np.allclose(back, W.apply(u, transposed=True) - 0.5 * x, atol=1e-10)


def test_widths_enter_the_outer_product():
    rows, cols, W = gaussian(ratios=(2.0, 3.0))
    u, x = rows.normal(1)[0], cols.normal(1)[0]
    Z = W.zero().add_outer(1.0, u, x)
    assert np.allclose(Z.apply(x), 3.0 * u, atol=1e-10)
    assert np.allclose(Z.apply(u, transposed=True), 2.0 * x, atol=1e-10)


def test_sums_of_matrices_and_transposes():
    one = space(1)
    W = rt.gaussian_matrix(one, one, 1.0, (1.0, 1.0), 1e-9)
    A = W.zero().add(0.5, W).add(0.5, W, transposed=True)
    x = np.tanh(one.normal(1)[0])
    assert np.allclose(A.apply(x), 0.5 * W.apply(x) + 0.5 * W.apply(x, transposed=True), atol=1e-10)
    assert np.allclose(A.apply(x, transposed=True), A.apply(x), atol=1e-10)


def test_momentum_equals_the_sum_of_its_updates():
    """An accumulator that is folded into the weights' basis again and again, against plain outer products."""
    rows, cols, W = gaussian()
    velocity, state, plain = W.zero(), W, W
    weights = []
    for step in range(5):
        u, x = np.sin(rows.normal(2)), np.tanh(cols.normal(2))
        velocity = velocity.zero().add(0.9, velocity).add_outer(1.0, u, x)
        weights.append((u, x))
        for age, (old_u, old_x) in enumerate(reversed(weights)):
            plain = plain.add_outer(-0.1 * 0.9**age, old_u, old_x)
        state = state.add(-0.1, velocity)
        z = np.cos(cols.normal(1))
        assert np.allclose(state.apply(z), plain.apply(z), atol=1e-9), step
        y = np.cos(rows.normal(1))
        assert np.allclose(state.apply(y, transposed=True), plain.apply(y, transposed=True), atol=1e-9)


def test_scaling_a_state():
    rows, cols, W = gaussian()
    u, x = rows.normal(1)[0], cols.normal(1)[0]
    state = W.add_outer(1.0, u, x)
    state.apply(x)
    half = state.zero().add(0.5, state)
    z = np.tanh(cols.normal(1)[0])
    assert np.allclose(half.apply(z), 0.5 * state.apply(z), atol=1e-10)


def test_the_tolerance_bounds_what_is_dropped():
    _, cols, W = gaussian(tolerance=0.1)
    x = cols.normal(1)[0]
    W.apply(x)
    root = W.roots[0][1]
    near = x + 0.05 * cols.normal(1)[0]
    W.apply(near)
    assert root.sides[0].inputs.count == 1
    W.apply(x + 0.5 * cols.normal(1)[0])
    assert root.sides[0].inputs.count == 2


def test_zero_and_non_finite_vectors_add_no_direction():
    _, cols, W = gaussian()
    assert np.all(W.apply(np.zeros((2, N))) == 0)
    with np.errstate(all="ignore"):
        assert not np.any(np.isfinite(W.apply(np.full((2, N), np.nan))))
    assert W.roots[0][1].sides[0].inputs.count == 0


def test_the_default_tolerance_grows_with_the_rank():
    assert effective_tolerance(None, 0, N) == 1e-3
    assert effective_tolerance(None, N // 4, N) == pytest.approx(0.125)
    assert effective_tolerance(None, N // 64, N) == pytest.approx(0.0154, rel=0.01)
    assert effective_tolerance(1e-6, N, N) == 1e-6
    assert effective_tolerance(1e-6, np.arange(3), N).tolist() == [1e-6] * 3


@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_a_first_block_takes_the_directions_that_its_tolerance_asks_for(tolerance):
    """Vectors of decreasing energy: what is left of each is below the tolerance of as many directions as there are then, and with
    one direction less, by the singular values of the block, it would not be."""
    rows, cols, _ = gaussian()
    W = rt.gaussian_matrix(rows, cols, 1.0, (1.0, 1.0), tolerance)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(80, 80)))[0]
    x = turn @ (0.9 ** np.arange(80)[:, None] * cols.normal(80))
    W.apply(x)
    known = W.roots[0][1].sides[0].inputs.array
    left = np.sqrt(np.sum((x - (x @ known.T / N) @ known) ** 2, axis=1) / np.sum(x**2, axis=1))
    assert 2 < len(known) < 80
    assert left.max() <= effective_tolerance(tolerance, len(known), N)
    unit = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    values, axes = np.linalg.eigh(unit @ unit.T / N)
    fewer = np.sqrt(np.max(axes[:, :81 - len(known)] ** 2 @ values[:81 - len(known)]))
    assert fewer > 0.7 * effective_tolerance(tolerance, len(known) - 1, N)


def test_directions_are_orthogonal_whatever_vectors_lose():
    """Vectors that are nearly known, and others."""
    known = Directions(N, np.dtype(float))
    rng = np.random.default_rng(0)
    known.append_span(rng.normal(size=(40, N)))
    given = np.concatenate([known.array[:3] + 1e-7 * rng.normal(size=(3, N)), rng.normal(size=(3, N))])
    found = known.outside(given)
    assert np.all(np.abs(found @ known.array.T / N) < 1e-14 * np.sqrt(np.mean(found**2, axis=1, keepdims=True)) + 1e-22)
    np.testing.assert_allclose(np.mean(found**2, axis=1), [1e-14 * 983 / N] * 3 + [983 / N] * 3, rtol=0.2)


@pytest.mark.parametrize("length", [10, 64, 1000])
def test_squares_of_float32(length):
    rows = np.random.default_rng(0).normal(size=(7, length)).astype(np.float32)
    np.testing.assert_allclose(squares(rows), np.sum(rows.astype(float) ** 2, axis=1), rtol=1e-7)
    np.testing.assert_allclose(squares(rows.astype(float)), np.sum(rows.astype(float) ** 2, axis=1), rtol=1e-14)


# --- block products and statistics ---------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["ab,ab->a", "ab,b->a", "a,ab->b", "ab,cb->ca", "abc,dc->bad", "abc,abd->dca", "a,b->ba",
                                  "ab,->ba", "a,a->"])
def test_contract_is_einsum(spec):
    rng = np.random.default_rng(0)
    sizes = {"a": 3, "b": 4, "c": 5, "d": 2}
    left, right = (rng.normal(size=[sizes[c] for c in side]) for side in spec.split("->")[0].split(","))
    assert np.allclose(rt.contract(spec, left, right), np.einsum(spec, left, right))


@pytest.mark.slow
def test_errors_scale_to_cover():
    """Two of the reported errors cover what they should also for three replicates."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(4000):
        drawn = iter(rng.normal(size=3))
        values, errors = rt.run_replicates(lambda seed, tick, d=drawn: {"x": next(d)}, replicates=3, seed=0, threads=1)
        hits += abs(values["x"]) <= 2 * errors["x"]
    assert abs(hits / 4000 - LEVEL) < 0.01


def test_one_replicate_has_no_error_bar():
    values, errors = rt.run_replicates(lambda seed, tick: {"x": 1.0}, replicates=1, seed=0)
    assert values["x"] == 1
    assert np.isnan(errors["x"])
    assert np.isnan(coverage_factor(1))


def test_the_bias_is_part_of_the_error():
    """Replicates that agree on a bias of 8/N: a quarter of the particles has four times as much."""
    def biased(seed, tick, part=(0, 1)):
        seed.spawn(1)
        few = part[1] > 1
        return {"x": 1 + 8 / rt.part_size(64, part[1]), "y": 1.0, "lost": np.nan if few else 3.0,
                "spawned": float(seed.n_children_spawned)}

    values, errors = rt.run_replicates(biased, replicates=16, seed=0, samples=64)
    assert values["x"] - errors["x"] == pytest.approx(1) and errors["y"] == 0 and errors["spawned"] == 0
    assert errors["lost"] == values["lost"] == 3
    assert rt.run_replicates(biased, replicates=2, seed=0, samples=4)[1]["x"] == 0
    assert np.isnan(rt.run_replicates(biased, replicates=1, seed=0, samples=64)[1]["x"])


def test_results_do_not_depend_on_threads():
    def draw(seed, tick):
        return {"x": np.random.default_rng(seed).normal(size=2)}

    one = rt.run_replicates(draw, replicates=6, seed=1, threads=1)
    two = rt.run_replicates(draw, replicates=6, seed=1, threads=2)
    assert np.array_equal(one[0]["x"], two[0]["x"])
    assert np.array_equal(one[1]["x"], two[1]["x"])


def test_progress_counts_the_steps_of_all_replicates():
    seen = []

    def three_steps(seed, tick):
        for _ in range(3):
            tick()
        return {"x": 0.0}

    rt.run_replicates(three_steps, replicates=2, seed=0, steps=3, threads=1, progress=lambda *p: seen.append(p))
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_failing_replicate_ends_the_run():
    def fail(seed, tick):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rt.run_replicates(fail, replicates=4, seed=0, threads=2)


@pytest.mark.parametrize("dimension, digits", [(1, 0), (1, 3), (2, 1), (9, 5), (256, 6)])
def test_sobol_points_are_those_of_scipy(dimension, digits):
    from scipy.stats import qmc

    from tensorprog.runtime.sobol import sobol_points

    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    points = qmc.Sobol(dimension, scramble=True, rng=theirs).random_base2(digits).T
    assert np.array_equal(sobol_points(dimension, digits, ours), points)
    assert ours.random() == theirs.random()
