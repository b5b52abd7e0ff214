"""Parametrizations of perceptrons by powers of the width: which have a limit, and of which kind (TP IV, section 3; TP IVb).

    parametrization.py   a, b, c (and d) with exact exponents, the named ones, the symmetry
    exponents.py         exact numbers or symbols, and conditions on them
    classify.py          stable, nontrivial, feature learning or kernel regime, layer by layer, with reasons
    report.py            a classification as text, LaTeX and JSON
    region.py            the stable region in a plane of two exponents, and its picture

>>> from tensorprog.abc import classify, named
>>> classify(named("muP", 2)).feature_learning
True
"""

from tensorprog.abc.classify import Classification, classify
from tensorprog.abc.parametrization import NAMES, Parametrization, named

__all__ = ["NAMES", "Classification", "Parametrization", "classify", "named"]
