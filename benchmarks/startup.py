"""Wall time of the commands that a user waits for: check, compile, and a first and a second run of README's first program;
and where the time of the second one goes.

    python benchmarks/startup.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import note

EXAMPLES = Path(__file__).parents[1] / "examples"


def long_program(lines: int) -> str:
    """A program of about `lines` lines."""
    head = (EXAMPLES / "mlp_mup.tp").read_text().replace("output f, loss", "")
    missing = lines - head.count("\n") - 2
    more = "\n".join(f"q{i} = moment(v * tanh(W @ tanh({1 + i / 10} * v)))" for i in range(missing))
    return f"{head}\n{more}\noutput f, loss, q0\n"


def timed(*arguments: str) -> float:
    # As an installed package runs: with its compiled bytecode kept.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tensorprog", *arguments], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def first_program(folder: Path) -> tuple[str, str]:
    """README's first program and its data, as files."""
    readme = (EXAMPLES.parent / "README.md").read_text()
    program, data = folder / "first.tp", folder / "points.npz"
    program.write_text(re.search(r"```tp\n(.*?)```", readme, re.S).group(1))
    np.savez(data, X=[[1.0, 0.5], [-0.3, 1.2], [0.8, -1.0]], y=[1.0, -1.0, 1.0])
    return str(program), str(data)


#: Run in a process of its own: prints the seconds of each stage of a run.
STAGES = """
import json, sys, time
seconds, last = {}, time.perf_counter()
def lap(name):
    global last
    now = time.perf_counter()
    seconds[name], last = now - last, now
import numpy
lap("import NumPy")
import tensorprog.api as api, tensorprog.data as data
lap("import tensorprog")
program = api.compile(sys.argv[1])
lap("parse and check, or from disk")
compiled = program.compiled
lap("passes, or from disk")
plan = program.plan
lap("plan, or from disk")
from tensorprog.modules import load_module
from tensorprog.evaluators import particles
text = particles.emit(compiled)
lap("emit, or from disk")
import tensorprog.runtime
lap("import Numba and the runtime")
module = load_module(text)
lap("compile kernels, or from disk")
program.run(data.load_data(sys.argv[2:]))
lap("run")
print(json.dumps(seconds))
"""


def stages(program: str, data: str) -> dict[str, float]:
    """Seconds of the stages of a run, in a new process."""
    done = subprocess.run([sys.executable, "-c", STAGES, program, data], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def show(what: str, seconds: float) -> None:
    print(f"{what + ':':<20}{seconds:.2f} s")
    note(what, seconds, "s")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        long = folder / "long.tp"
        long.write_text(long_program(100))
        timed("check", str(long))
        show("check, 100 lines", min(timed("check", str(long)) for _ in range(5)))
        show("compile, 100 lines", min(timed("compile", str(long)) for _ in range(3)))
        program, data = first_program(folder)
        show("first run", timed("run", program, data))
        show("second run", min(timed("run", program, data) for _ in range(3)))
        os.environ["XDG_CACHE_HOME"] = str(folder / "other")
        first, second = stages(program, data), stages(program, data)
        print("\nseconds of stages               first  second")
        for stage in first:
            print(f"{stage:30} {first[stage]:6.2f} {second[stage]:7.2f}")


if __name__ == "__main__":
    main()
