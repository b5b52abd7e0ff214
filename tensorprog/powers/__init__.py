"""Powers of n as a calculus: `tpc mup` and `tpc scale`.

What neither decides is refused (refusals.py).

With unknowns (what a program should be):
    trainable.py    which objects are trained
    terms.py        values with unknown exponents
    unknowns.py     the rules, and what determines the unknowns
    multiply.py     the program with multipliers in place
    mup.py          the two passes, learning rates of optimizers
    entries.py, tables.py, rewrite.py   the result, as tables, and as a program

Without (what a program is):
    components.py, matrices.py, storage.py   values by what they are odd in, and what cells hold
    execution.py    the program executed with powers of n, step by step
    scale.py        the result;  measure.py, scale_plot.py   slopes at finite widths beside it
"""
