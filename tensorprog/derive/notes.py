"""Sentences that stand beside equations, in the notation of each output."""

from __future__ import annotations

STEIN = ("at a jump the expectation of the derivative is read by Stein's lemma: the coefficients are C^+ b with "
         "C = Cov(Z^y, Z^y') over the earlier uses and b = E[Zhat * Z^x] (TP IV, Remark F.2)")

#: With formulas as LaTeX between dollar signs.
TYPESET = {
    STEIN: r"at a jump the expectation of the derivative is read by Stein's lemma: the coefficients are $C^{+} b$ with "
           r"$C = \operatorname{Cov}(Z^{y}, Z^{y'})$ over the earlier uses and $b = \mathbb{E}[\hat{Z} Z^{x}]$ (TP IV, Remark F.2)",
}
