"""Source text that runs a loop as a Numba function (`codegen.loops`) if it is long, and step by step if not."""

from __future__ import annotations

from tensorprog.codegen.emission import Emission
from tensorprog.codegen.fusion import Fusion
from tensorprog.codegen.layout import Layout, lengths_text, tuple_text
from tensorprog.codegen.loops import LoopKernel, compilable, loop_kernel
from tensorprog.codegen.names import int_text, python_name
from tensorprog.ir.program import Cell, For, Var, Zero, touched, walk, written


class CompiledLoops:
    """Calls of compiled loops. `compiles` says if the module may have any."""

    def __init__(self, state: Emission, fusion: Fusion):
        self.state, self.fusion = state, fusion
        self.compiles = False

    def kernel_of(self, loop: For) -> LoopKernel | None:
        """The kernel of a loop, if it is to have one."""
        # Within a parallel loop a cell has an axis more, and the work is a block for BLAS.
        if not self.compiles or self.state.active or not compilable(loop):
            return None
        inside = {id(s) for s in walk((loop,))}
        outside = {c for s in walk(self.state.program.body) if id(s) not in inside for c in touched(s)}
        outside |= self.state.program.results
        kernel = loop_kernel(self._unused(f"loop_{len(self.state.loop_kernels)}"), loop, self.state.program)
        # The kernel has one of what every iteration of a parallel loop has of its own, and leaves the last; what stands outside
        # would read all of them.
        if any(self._private(c) and c in outside for c in (*kernel.vectors, *kernel.scalars)):
            return None
        self.state.loop_kernels.append(kernel)
        return kernel

    def _unused(self, name: str) -> str:
        """A name of a function of the module that the program does not use."""
        return self._unused(f"_{name}") if name in self.state.taken else name

    def _private(self, cell: Cell) -> bool:
        """Whether the step-by-step form has one such family for each iteration of some inner loop."""
        return bool(cell.rank and self.state.storage[cell].axes)

    def run(self, loop: For, kernel: LoopKernel) -> None:
        """Prepare what the kernel changes, call it, and give scalars their names back."""
        cells = (*kernel.vectors, *kernel.scalars)
        set_before = self._set_before(loop)
        for cell in cells:
            self._prepare(cell, set_before)
        fixed = [self._fixed(item) for item in kernel.fixed]
        fixed += [f"rt.real_vector({self.fusion.value(v).text}, samples, dtype)" for v in kernel.outer]
        iterations = f"range({int_text(loop.start)}, {int_text(loop.stop)}, {loop.step})"
        vectors, scalars = (tuple_text([self._argument(c) for c in group]) if group else "()"
                            for group in (kernel.vectors, kernel.scalars))
        self.state.line(f"rt.LoopRun({kernel.name}, {iterations}, samples, dtype, fixed={tuple_text(fixed)},")
        self.state.line(f"           vectors={vectors}, scalars={scalars},")
        # Progress counts the steps of outermost loops.
        monitor = "tick" if self.state.depth == 2 else "rt.Unwatched()"
        self.state.line(f"           scratch={kernel.scratch}, threads=threads,")
        outputs = ", ".join(f"{o.name!r}: {python_name(o.cell.name)}" for o in self.state.program.outputs
                            if o.cell in kernel.scalars and o.cell.rank)
        self.state.line(f"           outputs={{{outputs}}}).run({monitor})")
        for cell in kernel.scalars:
            if not cell.rank and not cell.tensor.shape:
                # Within the kernel a number is an array of one, which it can change.
                self.state.line(f"{python_name(cell.name)} = {python_name(cell.name)}[0]")

    def _fixed(self, item: str | Var) -> str:
        if isinstance(item, Var):
            return f"float({self.fusion.value(item).text})"
        return f"ratios[{item[6:]!r}]" if item.startswith("width:") else python_name(item)

    def _argument(self, cell: Cell) -> str:
        return self._blank(cell) if self._private(cell) else python_name(cell.name)

    def _blank(self, cell: Cell) -> str:
        """An array for a cell, without values."""
        shape = [*(self.state.extents.get(cell, ()) if cell.rank else ()), *map(int_text, cell.tensor.shape)]
        if cell.tensor.width:
            return f"np.full({lengths_text(tuple_text([*shape, 'samples']))}, np.nan, dtype)"
        return f"np.full({lengths_text(tuple_text(shape or ['1']))}, np.nan)"

    def _prepare(self, cell: Cell, set_before: set[Cell]) -> None:
        """Make the cell an array that the kernel may change."""
        name = python_name(cell.name)
        if self._private(cell):
            return
        # A name that is first set in the loop: the kernel is called with it all the same.
        if cell not in set_before and not self._allocated(cell):
            self._declare(cell)
        if cell.rank:
            return
        if cell.tensor.width and not cell.tensor.shape:
            self.state.line(f"{name} = rt.real_vector({name}, samples, dtype)")
        else:
            self.state.line(f"{name} = np.array({name}{', dtype' if cell.tensor.width else ', float'}, ndmin=1)")

    def _allocated(self, cell: Cell) -> bool:
        """Whether `allocate` makes the array of a family."""
        zeroed = any(isinstance(s, Zero) and s.cell is cell for s in walk(self.state.program.body))
        return bool(cell.rank) and not self.state.storage[cell].named and not zeroed

    def _set_before(self, loop: For) -> set[Cell]:
        """Cells that have a value whenever the loop begins, whatever branches were taken before."""
        # Only what stands at the outermost level counts: a branch, or a loop without iterations, may set nothing.
        found = set(self.state.initials)
        for statement in self.state.program.body:
            if any(s is loop for s in walk((statement,))):
                break
            if (cell := written(statement)) is not None:
                found.add(cell)
        return found

    def _declare(self, cell: Cell) -> None:
        """Give a cell an array without values at the beginning of the module's function."""
        line = f"    {python_name(cell.name)} = {self._blank(cell)}"
        # At the top, where it has a value whichever branch is taken.
        if line not in self.state.lines:
            self.state.lines.insert(0, line)

    def settle(self, kernel: LoopKernel) -> None:
        """After the step-by-step form: the layouts that the kernel leaves behind."""
        for cell in (*kernel.vectors, *kernel.scalars):
            target = Layout((), len(cell.tensor.shape), bool(cell.tensor.width))
            if cell.rank or cell not in self.state.layouts:
                continue
            # The step-by-step form leaves out axes on which a value does not depend; what follows was written once, for both forms.
            if self.state.layouts[cell] != target:
                shape = tuple_text([*map(int_text, cell.tensor.shape), *(["samples"] if cell.tensor.width else [])])
                self.state.line(f"    {python_name(cell.name)} = np.broadcast_to({python_name(cell.name)}, {shape})")
            self.state.layouts[cell] = target
