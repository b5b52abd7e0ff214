"""Kernels over all pairs of rows: recursions that are found in equations, as tiled Numba code.

    recognise/   equations specialised to a pair of rows, as expressions in values of pairs (`nodes`)
    graph/       these as a graph: brought in line, merged, recursions that go down turned round
    lower        a graph as a pair program (`schedule`, `program`)
    codegen/     a pair program as the text of kernels; `sections` puts it into a module beside equations
"""
