"""relu(x) = max(x, 0), with relu'(0) = 0."""

from typing import Any

from tensorprog.ir.functions.bounds import rectified
from tensorprog.ir.functions.expr import call
from tensorprog.ir.functions.nonlinearity import Nonlinearity


def relu(x: Any) -> Any:
    import numpy as np

    return np.maximum(x, 0.0)


RELU = Nonlinearity(
    # Compared the other way round, a NaN would become 0.
    name="relu", description="max(x, 0)", scalar="0.0 if {x} <= 0.0 else {x}", array=relu, derivative=call("step"),
    bound=rectified(0.0, 1.0), formula=lambda x: (x + abs(x)) / 2, degree=1, kink="kink", lipschitz=True)
