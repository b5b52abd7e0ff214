"""Wall time of the commands that a user waits for: check, compile, and a second run of a small program.

    python benchmarks/startup.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "long.tp"
        program.write_text(long_program(100))
        small = str(EXAMPLES / "semicircle.tp")
        timed("check", str(program))
        print(f"check, 100 lines:   {min(timed('check', str(program)) for _ in range(5)):.2f} s")
        print(f"compile, 100 lines: {min(timed('compile', str(program)) for _ in range(3)):.2f} s")
        print(f"first run:          {timed('run', small):.2f} s")
        print(f"second run:         {min(timed('run', small) for _ in range(3)):.2f} s")


if __name__ == "__main__":
    main()
