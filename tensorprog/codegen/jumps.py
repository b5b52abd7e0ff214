"""The end of a written module: where its outputs may have no limit (`runtime.jumps`)."""

from __future__ import annotations

from tensorprog.passes.jumps import Jump, Probed, place_of


def jumps_text(probes: Probed) -> str:
    """Statements that make `run` warn of jumps, and hide the scalars that tell of them."""
    places = [f"    JumpPlace({_place(jump)!r}, {tuple(sorted(jump.outputs))!r},\n"
              f"              { {name: probes.terms[name] for name in jump.probes}!r}{_squares(jump, probes)})," for jump in probes.jumps]
    # At the end of the text, where `run` is defined: it is wrapped.
    return "\n".join(["from tensorprog.runtime.jumps import JumpPlace, warn_at_jumps  # noqa: E402", "",
                      "# What jumps, the outputs that depend on it, and the scalars (each with its terms) that it jumps in.",
                      "JUMPS = (", *places, ")", "run = warn_at_jumps(run, JUMPS)", ""])


def _squares(jump: Jump, probes: Probed) -> str:
    squares = tuple(name for name in jump.probes if name in probes.squares)
    return f", {squares!r}" if squares else ""


def _place(jump: Jump) -> str:
    line = "" if jump.span is None else f"line {jump.span.line}: "
    return line + place_of(jump)
