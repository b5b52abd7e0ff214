"""Sentences that stand beside equations, in the notation of each output."""

from __future__ import annotations

STEIN = ("at a jump the expectation of the derivative is read by Stein's lemma: the coefficients are C^+ b with "
         "C = Cov(Z^y, Z^y') over the earlier uses and b = E[Zhat * Z^x] (TP IV, Remark F.2)")
ORTHOGONAL = ("R is what earlier products with the transpose of an orthogonal matrix have not told of a vector; it stands in the "
              "vector's place in responses and covariances (for square matrices compare Fan, arXiv 2008.11892)")
STEIN_ORTHOGONAL = ("at a jump the expectations of derivatives are read by Stein's lemma: they are C^+ b with "
                    "C = Cov(Zhat, Zhat') over the earlier uses and b = E[Zhat * Z^x] (TP IV, Remark F.2)")
FUNCTIONS = ("functions of matrices act on entries, where outer(u, x) has entries u*x' with independent coordinates for rows and columns; "
             "the product with z is the expectation of entry*z' over the columns' coordinates (TP IVb, arXiv 2308.01814). polar makes "
             "all singular values 1, product multiplies two matrices")

#: With formulas as LaTeX between dollar signs.
TYPESET = {
    STEIN: r"at a jump the expectation of the derivative is read by Stein's lemma: the coefficients are $C^{+} b$ with "
           r"$C = \operatorname{Cov}(Z^{y}, Z^{y'})$ over the earlier uses and $b = \mathbb{E}[\hat{Z} Z^{x}]$ (TP IV, Remark F.2)",
    ORTHOGONAL: r"$R$ is what earlier products with the transpose of an orthogonal matrix have not told of a vector; it stands in "
                r"the vector's place in responses and covariances (for square matrices compare Fan, arXiv 2008.11892)",
    STEIN_ORTHOGONAL: r"at a jump the expectations of derivatives are read by Stein's lemma: they are $C^{+} b$ with "
                      r"$C = \operatorname{Cov}(\hat{Z}, \hat{Z}')$ over the earlier uses and "
                      r"$b = \mathbb{E}[\hat{Z} Z^{x}]$ (TP IV, Remark F.2)",
    FUNCTIONS: r"functions of matrices act on entries, where $u \otimes x$ has entries $u x'$ with independent coordinates for rows and "
               r"columns; the product with $z$ is the expectation of entry times $z'$ over the columns' coordinates (TP IVb, arXiv "
               r"2308.01814). $\operatorname{polar}$ makes all singular values 1, $\operatorname{product}$ multiplies two matrices",
}
