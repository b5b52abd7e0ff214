"""Run an entry of the gallery: prints its numbers and draws its picture.

    python examples/gallery/run.py grokking            (writes out/grokking.png)
    python examples/gallery/run.py --all               (every entry, one after the other)

An entry is a folder with programs, a README, and `experiment.py`, which defines

    experiment(samples, replicates) -> dict      what was found, computed from the limits of the programs
    report(found) -> str                         the numbers, as the README shows them
    draw(found, figure)                          the picture
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

from drawing import new_figure, save

GALLERY = Path(__file__).resolve().parent
ENTRIES = sorted(path.parent.name for path in GALLERY.glob("*/experiment.py"))


def main() -> None:
    options = _options()
    for name in ENTRIES if options.all else options.names:
        picture = options.folder / f"{name}.png"
        print(report(name, picture, samples=options.samples, replicates=options.replicates), flush=True)
        print(f"picture: {picture}")


def report(name: str, picture: Path, **accuracy: int | None) -> str:
    """Run the entry, draw its picture, and return its numbers. Settings that are None are the entry's own."""
    entry = load(name)
    found = entry.experiment(**{key: value for key, value in accuracy.items() if value is not None})
    figure = new_figure(getattr(entry, "PANELS", 1))
    entry.draw(found, figure)
    save(figure, picture)
    return entry.report(found)


def load(name: str) -> ModuleType:
    return importlib.import_module(f"{name}.experiment")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ENTRIES, []], metavar="NAME", help=", ".join(ENTRIES))
    parser.add_argument("--all", action="store_true", help="run every entry")
    parser.add_argument("--samples", type=int, help="particles of each randomization (default: the entry's own)")
    parser.add_argument("--replicates", type=int, help="independent randomizations (default: the entry's own)")
    parser.add_argument("--folder", type=Path, default=Path("out"), help="where pictures go")
    options = parser.parse_args()
    if not options.names and not options.all:
        parser.error(f"which entry? One of {', '.join(ENTRIES)}, or --all")
    return options


if __name__ == "__main__":
    main()
