"""Which arguments of a law scale with the entries."""

from __future__ import annotations

#: By law, the arguments that are multiplied by a power of c where the spread of the entries is multiplied by c: lengths by
#: the first, variances by the second.
SPREADS = {"uniform": {0: 1, 1: 1}, "constant": {0: 1}, "orthogonal": {0: 1}, "normal": {1: 2}, "sparse_normal": {1: 2},
           "symmetric_normal": {1: 2}}

#: The same where the entries are multiplied by c, their means included.
ENTRIES = SPREADS | {"normal": {0: 1, 1: 2}}
