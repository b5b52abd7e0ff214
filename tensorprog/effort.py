"""How many particles a run takes if nobody says: `USUAL`, or fewer where these would take long.

What a run costs is counted, not timed, so that results depend on the seed and not on the machine: the products of vectors with
directions of matrices, in one replicate of a few particles.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorprog.evaluators import particles
from tensorprog.evaluators.analysis import Analysis
from tensorprog.evaluators.plan import plan_of
from tensorprog.modules import load_module
from tensorprog.runtime import Notes

#: Particles of a replicate, and those of one that would take more than `MOST` multiplications: some ten seconds of a core.
USUAL, FEWER = 4096, 1024
MOST = 2.5e11
#: Those of one for each draw of a limit that is random: what they lack is small beside how draws scatter.
FOR_DRAWS = 512
#: Particles of the replicate that is counted, and the power of their number by which the count grows (measured: the rank of
#: matrices grows as the power 0.3 to 0.5).
COUNTED, GROWTH = 256, 1.4
#: Runs of so many particles that make a run of eight replicates with its bias, and products for each direction.
RUNS, PRODUCTS = 9, 4


def usual_samples(analysis: Analysis, env: Mapping[str, object], method: str, tolerance: float | None) -> int:
    """The number of particles of a replicate of the limit."""
    if analysis.numbers is not None or not analysis.limit.outputs:
        return USUAL
    if method not in ("auto", "particles") or method == "auto" and not plan_of(analysis).names("particles"):
        return USUAL
    if (drawn := analysis.gaussians) is not None:
        return FOR_DRAWS if drawn.random - drawn.affine else USUAL
    return FEWER if multiplications(analysis, env, tolerance) > MOST else USUAL


def multiplications(analysis: Analysis, env: Mapping[str, object], tolerance: float | None) -> float:
    """A forecast of the multiplications that eight replicates of `USUAL` particles take."""
    import numpy as np


    module, notes = load_module(particles.emit(analysis)), Notes()
    with np.errstate(all="ignore"):
        module.replicate(module.bind(env, {}), COUNTED, np.random.SeedSequence(0), tolerance, lambda: None, notes=notes)
    return RUNS * PRODUCTS * notes.work * (USUAL / COUNTED) ** GROWTH
