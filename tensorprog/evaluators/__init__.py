"""The evaluators of a limit, one file each, the most exact first.

    span         linear programs, by coefficients on an orthonormal basis
    covariance   programs of few Gaussians, by equations between numbers; `numbers` for training in the kernel regime
    diagonal     linear programs with products by declared vectors, by coefficients that are functions of these
    particles    every program, by samples

Each file makes an `Evaluator`: which outputs are its `share`, what there is to say of its `choice`, how it is `run`, and the module
that it can `emit`; `table` holds all. `plan` chooses one for every output, `evaluate` runs the plan; `analysis` keeps what they find out
about a program.
"""
