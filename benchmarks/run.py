"""All benchmarks, and a table of what is better or worse than the last recorded run.

    python benchmarks/run.py [NAME ...] [--record] [--corpus PATH ...] [--peer-python PYTHON]

Figures are compared with `recorded.json`; `--record` puts those of this run there. Machines are noisy: within a quarter, two
figures are called the same, and ratios of two sides of one run count for more than seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from figures import VARIABLE

FOLDER = Path(__file__).parent
RECORD = FOLDER / "recorded.json"
NOISE = 1.25

#: Benchmarks that can measure another library beside, in an environment of its own.
WITH_PEER = ("kernel_regime", "kernels", "same_jobs")


@dataclass(frozen=True)
class Figure:
    value: float
    unit: str
    better: str

    def verdict(self, before: Figure | None) -> str:
        """How it compares with what is on record."""
        if before is None:
            return "new"
        if 0 in (self.value, before.value):
            return "the same" if self.value == before.value else "other"
        gain = before.value / self.value if self.better == "less" else self.value / before.value
        return "better" if gain > NOISE else "WORSE" if gain < 1 / NOISE else "the same"


def names() -> list[str]:
    """Every benchmark by the name of its script."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("figures", "run"))


def arguments(name: str, options: argparse.Namespace) -> list[str] | None:
    """What a script is called with; None if what it needs is not there."""
    if name == "word2vec":
        return ["--corpus", *map(str, options.corpus)] if options.corpus else None
    return ["--peer-python", options.peer_python] if options.peer_python and name in WITH_PEER else []


def measured(name: str, given: list[str]) -> dict[str, Figure]:
    """The figures that a script notes; its lines are shown as they come."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "figures.jsonl"
        subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), *given], check=True, env={**os.environ, VARIABLE: str(kept)})
        lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    return {f["name"]: Figure(f["value"], f["unit"], f["better"]) for f in map(json.loads, lines)}


def recorded() -> dict[str, dict[str, Figure]]:
    """The figures on record, by benchmark."""
    if not RECORD.exists():
        return {}
    found = json.loads(RECORD.read_text(encoding="utf-8"))
    return {name: {key: Figure(**figure) for key, figure in figures.items()} for name, figures in found.items()}


def write(record: dict[str, dict[str, Figure]]) -> None:
    """Put figures on record: whole or not at all."""
    text = json.dumps({name: {k: vars(f) for k, f in figures.items()} for name, figures in sorted(record.items())}, indent=1)
    new = RECORD.with_suffix(".new")
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(RECORD)


def table(found: dict[str, dict[str, Figure]], before: dict[str, dict[str, Figure]]) -> Iterable[str]:
    """A line for each figure."""
    yield f"{'benchmark':<20} {'figure':<44} {'recorded':>10} {'now':>10}         "
    for name, figures in found.items():
        for key, figure in figures.items():
            old = before.get(name, {}).get(key)
            yield (f"{name:<20} {key:<44} {'' if old is None else f'{old.value:10.3g}':>10} {figure.value:10.3g} "
                   f"{figure.unit:<5} {figure.verdict(old)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all without one")
    parser.add_argument("--record", action="store_true", help="put the figures of this run on record")
    parser.add_argument("--corpus", type=Path, nargs="+", help="texts for `word2vec`, which is left out without one")
    parser.add_argument("--peer-python", help="an interpreter that has neural-tangents")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(names())):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    found, failed = {}, []
    for name in options.names or names():
        given = arguments(name, options)
        if given is None:
            print(f"== {name}: left out, it needs --corpus", flush=True)
            continue
        print(f"== {name}", flush=True)
        try:
            found[name] = measured(name, given)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name} ended with exit code {error.returncode}", flush=True)
    before = recorded()
    print("\n" + "\n".join(table(found, before)))
    if options.record:
        write(before | found)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
