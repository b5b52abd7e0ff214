"""The part of every emitted module that joins data and settings."""

from __future__ import annotations

from tensorprog.ir.integers import IntSym
from tensorprog.ir.program import Program


def bind_text(program: Program, integers: str = "rt.integers") -> str:
    """Source of `bind(data, settings)`; `integers` is what the module calls the function of that name."""
    lines = ["def bind(data, settings):",
             '    """Inputs, sizes and parameters by name, sizes read off the inputs\' shapes."""',
             f"    env = {{**{_defaults(program)!r}, **data, **settings}}"]
    known = set()
    for declared in program.inputs:
        entry = f"env[{declared.name!r}]"
        # Vectors may be float32, data are not: particles narrow numbers where they meet a vector.
        real = f"np.ascontiguousarray({entry}, dtype=np.float64)"
        array = f"{integers}({entry})" if declared.kind == "int" else real
        lines.append(f"    {entry} = {array}")
        for axis, size in enumerate(declared.shape):
            # The first input with a size gives it; that others agree is checked where data are bound (`bind.py`), or is the
            # caller's affair.
            if isinstance(size, IntSym) and size.kind == "size" and size.name not in known:
                known.add(size.name)
                lines.append(f"    env[{size.name!r}] = env[{declared.name!r}].shape[{axis}]")
    return "\n".join([*lines, "    return env"])


def _defaults(program: Program) -> dict[str, float | int]:
    defaults = {s.name: s.default for s in program.sizes if s.default is not None}
    return defaults | {p.name: p.default for p in program.params if p.default is not None}
