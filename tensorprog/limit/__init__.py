"""What a limit program says, for whoever writes it out: as formulas (`derive`) or as equations (`covariance`).

    notation    integers, conditions and declared constants as SymPy expressions, in the symbols of either
    laws        declared laws and widths, of which powers of n keep the leading terms
    solve       which iterations of loops wrote an element
"""
