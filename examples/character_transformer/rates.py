"""The loss after training against the learning rate, at several widths: by the derived table, and without it.

    python examples/character_transformer/rates.py          (some 30 minutes on two cores)

Prints the best learning rate of every width, and draws `out/character_transformer.png`. What is done is kept in a file
beside the picture: a second run goes on where the first was interrupted. Needs torch, 2.9 or later for Muon.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tensorprog.torch import MuTable, trace

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
import model as character  # noqa: E402

COLORS = ["#f2b134", "#e8743b", "#c2325b", "#5b2a86"]
BASE = 64
#: Learning rates of the base width, as powers of two.
RATES = {"adamw": np.arange(-11, -3.5, 1.0), "muon": np.arange(-10, -3.5, 1.0)}
TITLES = {"adamw": "AdamW", "muon": "Muon"}
BETAS = (0.9, 0.95)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    text = character.read(*character.CORPUS)
    traced = trace(character.make, character.example_inputs)
    found, kept = {}, Kept(options)
    for name in options.optimizers:
        table = traced.parametrize(
            name, BASE, **({"adjust": "match_rms_adamw", "adamw": ["embedding*", "readout*"]} if name == "muon" else {})
        )
        print(table, end="\n\n")
        for derived in (True, False):
            curves = {}
            for width in options.widths:
                if not derived and width == BASE:
                    # At the base width nothing is scaled: both are the same.
                    curves[width] = found[name, True][width]
                    continue
                curves[width] = [
                    np.mean([
                        kept.get((name, derived, width, power, seed), lambda: trained(
                            table, text, width, 2.0**power, options, derived, seed))
                        for seed in range(options.seeds)
                    ])
                    for power in RATES[name].tolist()
                ]
                best = int(np.argmin(curves[width]))
                how = "by the table" if derived else "without it"
                print(f"{TITLES[name]}, {how}, width {width:4}: best rate 2^{RATES[name][best]:g}, "
                      f"loss {curves[width][best]:.3f}", flush=True)
            found[name, derived] = curves
    _draw(found, options.picture)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=8, help="pieces of text in a batch")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--optimizers", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=Path("out") / "character_transformer.png")
    return parser.parse_args()


class Kept:
    """Losses in a file, by what they are of."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._path = options.picture.with_suffix(".json")
        self._base = f"{options.steps} {options.rows}"
        self._known = json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, key: tuple, compute: Callable[[], float]) -> float:
        """The loss, computed if it is not there."""
        name = f"{self._base} {key}"
        if name not in self._known:
            self._known[name] = compute()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._known, indent=1))
        return self._known[name]


def trained(
    table: MuTable, text: torch.Tensor, width: int, rate: float, options: argparse.Namespace, derived: bool, seed: int
) -> float:
    """The loss on unseen pieces after training; `derived`: by the table, else by the same settings at every width."""
    torch.manual_seed(seed)
    net = character.make(width)
    if derived:
        table.apply(table.init_(net))
    optimizers = list(_optimizers(table, net, rate, derived))
    generator = torch.Generator().manual_seed(seed)
    cut = len(text) * 9 // 10
    for _ in range(options.steps):
        inputs, targets = character.batch(text[:cut], options.rows, generator)
        loss = character.loss(net(inputs), targets)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    with torch.no_grad():
        inputs, targets = character.batch(text[cut:], 64, torch.Generator().manual_seed(1))
        return character.loss(net(inputs), targets).item()


def _optimizers(table: MuTable, net: nn.Module, rate: float, derived: bool) -> Iterator[torch.optim.Optimizer]:
    """Plain optimizers of torch with the table's groups, or with the settings of the base width."""
    for part in dict.fromkeys(row.optimizer for row in table.rows):
        groups = table.param_groups(net, rate, weight_decay=0.0, part=part)
        if not derived:
            groups = [{"params": [p for group in groups for p in group["params"]], "lr": rate, "weight_decay": 0.0}]
        if part == "muon":
            yield torch.optim.Muon(groups, rate, adjust_lr_fn=table.adjust)
        else:
            yield torch.optim.AdamW(groups, rate, betas=BETAS)


def _draw(found: dict, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for name, _ in found))
    figure, panels = pyplot.subplots(len(names), 2, figsize=(9, 3.6 * len(names)), sharey="row", squeeze=False)
    for (name, derived), curves in found.items():
        panel = panels[names.index(name)][0 if derived else 1]
        for (width, losses), color in zip(curves.items(), COLORS * len(curves), strict=False):
            rates = 2.0 ** RATES[name]
            best = int(np.argmin(losses))
            panel.plot(rates, losses, color=color, label=f"width {width}")
            panel.plot(rates[best], losses[best], "o", color=color, markersize=7, zorder=3)
        panel.set_xscale("log", base=2)
        lowest = min(min(losses) for drawn in (found[name, True], found[name, False]) for losses in drawn.values())
        panel.set_ylim(lowest - 0.05, lowest + 1.6)
        panel.set_title(f"{TITLES[name]}: " + ("by the table" if derived else "constant settings"), fontsize=10)
        panel.grid(alpha=0.25)
        panel.set_xlabel("learning rate at the base width")
    for row in panels:
        row[0].set_ylabel("loss on unseen text")
    panels[0][0].legend(frameon=False)
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=130)
    print(f"wrote {picture}")


if __name__ == "__main__":
    main()
