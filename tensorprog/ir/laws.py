"""Which arguments of a law are lengths and which are variances: what scales with the entries."""

#: Arguments that are multiplied by c where the entries are.
LENGTHS = {"uniform": (0, 1), "constant": (0,), "orthogonal": (0,), "normal": (0,)}

#: Arguments that are then multiplied by c**2.
VARIANCES = {"normal": (1,), "sparse_normal": (1,), "symmetric_normal": (1,)}
