"""Symmetric Gaussian matrices (GOE): `A ~ symmetric_normal(0, s)` has A = A.T and entries of variance s, on the diagonal 2 s. It
is `A = G + G.T` with G of independent normal entries of variance s/2, a matrix state, which `check/ensembles.py` declares."""

from __future__ import annotations

from tensorprog.ensembles.ensemble import Ensemble

SYMMETRIC_NORMAL = Ensemble("symmetric_normal", ("mean", "variance"), square=True, spread={1: 2})
