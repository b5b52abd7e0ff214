"""The figures by which a benchmark is compared with an earlier run of it.

A script notes them beside what it prints; `run.py` (`make bench`) collects and compares them. Ratios of two sides that one run
measured say more than seconds, which depend on the machine.
"""

from __future__ import annotations

import json
import os
from typing import Literal

#: The file that `run.py` names; without it nothing is kept.
VARIABLE = "TENSORPROG_FIGURES"


def note(name: str, value: float, unit: str = "", better: Literal["less", "more"] = "less") -> None:
    """Keep a figure.

    Args:
        name: what it is of; the same at every run.
        unit: of the value; none for ratios.
        better: whether less or more of it is better.
    """
    path = os.environ.get(VARIABLE)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "value": float(value), "unit": unit, "better": better}) + "\n")
