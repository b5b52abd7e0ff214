"""The same jobs in scikit-learn, neural-tangents and here: lines of code, time and result of each script.

    python benchmarks/same_jobs.py [--peer-python PEER/bin/python]

The scripts are those of `same_jobs/`. PEER is an environment with neural-tangents: `pip install neural-tangents==0.6.5
jax==0.5.3 jaxlib==0.5.3 tf2jax==0.3.7`; without it, its scripts are left out. Every script runs in a process of its
own, twice: the first time compiles. Times are processor and wall seconds of the whole process, imports included. Needs
scikit-learn.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import note

SCRIPTS = sorted(Path(__file__).with_name("same_jobs").glob("*.py"))
POINTS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="an interpreter that has neural-tangents")
    peer = parser.parse_args().peer_python
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "digits.npz", **digits())
        print(f"{'script':<28} lines   first run: CPU, wall   second run: CPU, wall   result")
        for script in SCRIPTS:
            python = peer if script.stem.endswith("neural_tangents") else sys.executable
            if python:
                first, second = (run(python, script, folder) for _ in range(2))
                note(f"{script.stem}, second run", second[0], "CPU s")
                print(f"{script.stem:<28} {lines(script):5}   {first[0]:9.1f} s {first[1]:7.1f} s   "
                      f"{second[0]:9.1f} s {second[1]:7.1f} s   {second[2]}", flush=True)


def digits() -> dict[str, np.ndarray]:
    """500 images to learn from, with one-hot classes less their mean, and 500 others with their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images * np.sqrt(images.shape[1] / (images**2).sum(1, keepdims=True))
    return {"X": images[:POINTS], "classes": np.eye(10)[labels[:POINTS]] - 0.1, "Z": images[POINTS:2 * POINTS],
            "labels": labels[POINTS:2 * POINTS]}


def lines(script: Path) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in script.read_text(encoding="utf-8").splitlines())


def run(python: str, script: Path, folder: str) -> tuple[float, float, str]:
    """Processor seconds, wall seconds, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([python, script], cwd=folder, capture_output=True, text=True, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, wall, done.stdout.strip()


if __name__ == "__main__":
    main()
