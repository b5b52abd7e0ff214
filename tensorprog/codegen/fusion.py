"""Coordinatewise operations fused into kernels, and sums and averages of products into matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from tensorprog.codegen.emission import Emission, Value
from tensorprog.codegen.expressions import KernelBody, number_text, numpy_derivative, numpy_text
from tensorprog.codegen.layout import Layout, aligned, shape_parts, tuple_text, union
from tensorprog.codegen.names import int_text
from tensorprog.ir.program import (
    Contract,
    Elementwise,
    Var,
)

_OF_NUMBERS = {"div": "np.divide", "pow": "np.power"}


class Fusion:
    """Source text of expressions and reductions."""

    def __init__(self, state: Emission):
        self.state = state

    # --- values ---

    def value(self, var: Var) -> Value:
        """The named array of a temporary; a fused one is computed now."""
        # Asked for by name: it cannot be fused any more.
        op = self.state.pending.pop(var, None)
        if op is not None:
            text, layout = self.expression(var, op) if isinstance(op, Elementwise) else self.contraction(op, ())
            self.state.assign(var, text, layout)
        return self.state.values[var]

    def full(self, var: Var, *, width: bool = False, axes: tuple[str, ...] | None = None) -> tuple[str, Layout]:
        """A temporary with all the finite axes (and particles) of its type, and at least `axes`."""
        value = self.value(var)
        type = var.type
        target = Layout(axes if axes is not None else value.layout.axes, len(type.shape), bool(type.width) or width)
        if value.layout == target:
            return value.text, target
        shape = tuple_text(shape_parts(target, self.state.every_axis, type.shape, "samples"))
        text = value.text if value.layout.dims else f"float({value.text})"
        if shape == "()":
            return value.text, target
        if target.width and not value.layout.width:
            # A float64 array beside float32 vectors would make everything that follows float64.
            text = f"rt.narrow({text}, dtype)"
        return f"np.broadcast_to({aligned(text, value.layout, target)}, {shape})", target

    # --- coordinatewise expressions ---

    def expression(self, var: Var, op: Elementwise) -> tuple[str, Layout]:
        """Source text of a fused expression, and the layout of its value."""
        leaves: dict[Var, None] = {}
        count = self._collect(op, leaves)
        layout = union([self.state.values[leaf].layout for leaf in leaves], self.state.order)
        # A single operation is as fast in NumPy; of several, each would go through memory.
        if layout.width and count > 1:
            return self._kernel_call(op, list(leaves), layout), layout
        return self._numpy(op, layout), layout

    def _collect(self, op: Elementwise, leaves: dict[Var, None]) -> int:
        """The leaves of an expression in order of appearance, and its number of operations."""
        count = 1
        for arg in op.args:
            inner = self.state.pending.get(arg)
            if isinstance(inner, Elementwise):
                count += self._collect(inner, leaves)
            else:
                # Leaves are computed before the line that uses them, which is written when all are there.
                self.value(arg)
                leaves.setdefault(arg)
        return count

    def _kernel_call(self, op: Elementwise, leaves: list[Var], layout: Layout) -> str:
        body = KernelBody()
        # Numbers that are written down are part of the kernel, and no arguments.
        params = [leaf for leaf in leaves if not _is_literal(self.state.values[leaf].text)]
        names = {leaf: self.state.values[leaf].text for leaf in leaves} | {leaf: f"a{i}" for i, leaf in enumerate(params)}
        result = self._kernel_expression(op, body, names)
        kernel = self.state.pool.name(tuple(self.state.values[p].layout.width for p in params), body, result)
        args = [aligned(self.state.values[p].text, self.state.values[p].layout, layout) for p in params]
        return f"{kernel}({', '.join(args)})"

    def _kernel_expression(self, op: Elementwise, body: KernelBody, names: dict[Var, str]) -> str:
        args = []
        for arg in op.args:
            inner = self.state.pending.get(arg)
            if isinstance(inner, Elementwise) and arg not in names:
                args.append(self._kernel_expression(inner, body, names))
                # It is part of this kernel now; it had one use.
                del self.state.pending[arg]
            else:
                args.append(_kernel_literal(names[arg]))
        return body.emit(op.fn, args, op.order)

    def _numpy(self, op: Elementwise, target: Layout) -> str:
        args = []
        for arg in op.args:
            inner = self.state.pending.get(arg)
            if isinstance(inner, Elementwise):
                del self.state.pending[arg]
                args.append(f"({self._numpy(inner, target)})")
            else:
                value = self.state.values[arg]
                text = aligned(value.text, value.layout, target)
                if target.width and not value.layout.width and not _is_literal(value.text):
                    text = f"rt.narrow({text}, dtype)"
                args.append(f"({text})" if text.startswith("-") else text)
        if op.order:
            return numpy_derivative(op.fn, op.order, args[0])
        if op.fn in _OF_NUMBERS and not target.dims:
            # On plain numbers Python's operators raise where NumPy has infinities and NaN.
            return f"{_OF_NUMBERS[op.fn]}({', '.join(args)})"
        return numpy_text(op.fn, args)

    # --- reductions ---

    def _factors(self, var: Var, contractions: list[Contract] | None = None) -> tuple[list[Var], float]:
        """A fused product as factors and a number. The first contraction among the factors goes, not yet computed, to
        `contractions` if that is given."""
        op = self.state.pending.get(var)
        # One at the most: an einsum takes two operands.
        if isinstance(op, Contract) and contractions == []:
            del self.state.pending[var]
            contractions.append(op)
            return [], 1.0
        if isinstance(op, Elementwise) and op.fn in ("mul", "neg") and not op.order:
            del self.state.pending[var]
            parts = [self._factors(a, contractions) for a in op.args]
            sign = -1.0 if op.fn == "neg" else 1.0
            for _, number in parts:
                sign *= number
            return [f for factors, _ in parts for f in factors], sign
        if isinstance(op, Elementwise) and op.fn == "square" and not op.order:
            del self.state.pending[var]
            factors, number = self._factors(op.args[0])
            # x**2 is x * x: then it is a matrix product as others are.
            return factors * 2, number * number
        value = self.value(var)
        if _is_literal(value.text) and not value.layout.dims:
            return [], float(value.text.replace("np.inf", "inf"))
        return [var], 1.0

    def _labels(self, var: Var) -> tuple[str, ...]:
        layout = self.state.values[var].layout
        return _labels(layout)

    def reduced(self, arg: Var, labels: tuple[str, ...], *, mean: bool = False) -> tuple[str, Layout]:
        """The sum (over particles with `mean` the average) of a temporary over labelled axes: a parallel axis' name,
        `f0`, `f1`, ... for finite axes, `N` for particles."""
        op = self.state.pending.get(arg)
        if isinstance(op, Contract):
            del self.state.pending[arg]
            parallel = tuple(label for label in labels if label in self.state.order)
            text, layout = self.contraction(op, parallel)
            rest = tuple(label for label in labels if label not in parallel)
            return self._plain_sum(text, layout, rest, mean) if rest else (text, layout)
        layout = self.state.values[arg].layout
        # A sum over loops alone may become one more summed index of a contraction.
        contractions: list[Contract] | None = [] if set(labels) <= set(self.state.order) else None
        factors, number = self._factors(arg, contractions)
        if contractions:
            return self._reduced_contraction(contractions[0], factors, number, labels)
        # Factors that do not depend on what is summed over multiply the sum: they are of fewer numbers than what is summed.
        inner = [f for f in factors if set(self._labels(f)) & set(labels)]
        outer = [f for f in factors if f not in inner]
        text, reduced = self._sum_of_product(inner, labels, mean) if inner else ("1.0", Layout())
        for label in labels:
            if label not in _labels(layout) and not (label == "N" and mean):
                # The same along this axis: its sum is the length times it.
                text = f"{text} * {self._length(label, arg)}"
        return self._times(text, reduced, outer, number)

    def _reduced_contraction(self, op: Contract, factors: list[Var], number: float,
                             labels: tuple[str, ...]) -> tuple[str, Layout]:
        """The sum over parallel axes of a contraction times other factors, without the array of all its terms where the
        factors allow it."""
        inner = [f for f in factors if set(self._labels(f)) & set(labels)]
        outer = [f for f in factors if f not in inner]
        if all(set(self._labels(f)) <= set(self.state.order) for f in inner):
            text, layout = self.contraction(op, labels, inner)
        else:
            terms, own = self.contraction(op, ())
            layout = union([own, *(self.state.values[f].layout for f in inner)], self.state.order)
            parts = [aligned(f"({terms})", own, layout)]
            parts += [aligned(self.state.values[f].text, self.state.values[f].layout, layout) for f in inner]
            missing = [label for label in labels if label not in layout.axes]
            text, layout = self._plain_sum(" * ".join(parts), layout, labels, False)
            text = " * ".join([text, *(f"float({int_text(self.state.every_axis[label].length)})" for label in missing)])
        return self._times(text, layout, outer, number)

    def _length(self, label: str, arg: Var) -> str:
        if label.startswith("f") and label[1:].isdigit():
            return f"float({int_text(arg.type.shape[int(label[1:])])})"
        return f"float({int_text(self.state.every_axis[label].length)})"

    def _times(self, text: str, layout: Layout, factors: list[Var], number: float) -> tuple[str, Layout]:
        target = union([layout, *(self.state.values[f].layout for f in factors)], self.state.order)
        if text != "1.0" and layout.dims and aligned("x", layout, target) != "x":
            text = aligned(f"({text})", layout, target)
        parts = [] if text == "1.0" else [text]
        parts += [aligned(self.state.values[f].text, self.state.values[f].layout, target) for f in factors]
        if number != 1.0 or not parts:
            parts.insert(0, number_text(number) if number >= 0 else f"({number_text(number)})")
        return " * ".join(parts), target

    def _sum_of_product(self, factors: list[Var], labels: tuple[str, ...], mean: bool) -> tuple[str, Layout]:
        every = {label for f in factors for label in self._labels(f)}
        # Two groups make a matrix product: those with the most axes on one side, all others on the other. Within a group, factors
        # are multiplied entry by entry.
        largest = max((self._labels(f) for f in factors), key=len)
        first = [f for f in factors if self._labels(f) == largest]
        second = [f for f in factors if f not in first]
        spread = union([self.state.values[f].layout for f in factors], self.state.order)
        out = _without(spread, labels)
        reduced = [label for label in labels if label in every]
        if not second and len(first) == 2 and reduced == ["N"] and mean:
            left, right = (self.state.values[f].text for f in first)
            return f"rt.mean_product({left}, {right})", out
        if not second:
            text, layout = self._product(first)
            return self._plain_sum(text, layout, tuple(reduced), mean)
        return self._product_contraction(first, second, reduced, out, mean)

    def _product_contraction(self, first: list[Var], second: list[Var], reduced: list[str], out: Layout,
                             mean: bool) -> tuple[str, Layout]:
        (left, left_layout), (right, right_layout) = self._product(first), self._product(second)
        both = set(_labels(left_layout)) & set(_labels(right_layout))
        # A matrix product sums over axes of both sides; one of a single side is summed before.
        for label in [r for r in reduced if r not in both]:
            if label in _labels(left_layout):
                left, left_layout = self._plain_sum(left, left_layout, (label,), False)
            else:
                right, right_layout = self._plain_sum(right, right_layout, (label,), False)
        text = contract_text(left, _labels(left_layout), right, _labels(right_layout), _labels(out))
        return (f"rt.averaged({text}, samples)" if mean and "N" in reduced else text), out

    def _product(self, factors: list[Var]) -> tuple[str, Layout]:
        layout = union([self.state.values[f].layout for f in factors], self.state.order)
        texts = [aligned(self.state.values[f].text, self.state.values[f].layout, layout) for f in factors]
        if len(texts) == 1:
            return texts[0], layout
        name = self.state.scratch()
        self.state.line(f"{name} = {' * '.join(texts)}")
        return name, layout

    def _plain_sum(self, text: str, layout: Layout, labels: tuple[str, ...], mean: bool) -> tuple[str, Layout]:
        own = _labels(layout)
        positions = [own.index(label) for label in labels if label in own]
        out = _without(layout, labels)
        if not positions:
            return text, out
        axis = str(positions[0] - len(own)) if len(positions) == 1 else str(tuple(positions))
        function = "mean" if mean and labels == ("N",) else "sum"
        # Averages are float64, whatever vectors are.
        double = ", dtype=float" if "N" in labels else ""
        result = f"np.{function}({text}, axis={axis}{double})"
        if mean and "N" in labels and labels != ("N",):
            result += " / samples"
        return result, out

    def _scaled(self, arg: Var, scale: Sequence[Var]) -> tuple[str, Layout]:
        """A temporary with all axes of its type, times factors that vary along parallel axes."""
        text, layout = self.full(arg)
        if not scale:
            return text, layout
        target = union([layout, *(self.state.values[f].layout for f in scale)], self.state.order)
        parts = [aligned(self.state.values[f].text, self.state.values[f].layout, target) for f in scale]
        return f"({' * '.join([*parts, aligned(text, layout, target)])})", target

    def contraction(self, op: Contract, summed: tuple[str, ...], scale: Sequence[Var] = ()) -> tuple[str, Layout]:
        """An einsum over finite axes, times factors `scale` that vary along parallel axes alone, also summed over the
        parallel axes `summed`."""
        # Finite axes are named c*, which parallel loops and f* are not, for letters of an einsum are local to it.
        sides: list[tuple[str, list[str]]] = []
        for arg, letters in ((op.left, op.left_axes), (op.right, op.right_axes)):
            # The factors once, on the left: of x . x both operands are the same temporary.
            text, layout = self._scaled(arg, scale if arg is op.left and not sides else ())
            labels = [*layout.axes, *(f"c{c}" for c in letters), *(["N"] if layout.width else [])]
            sides.append((text, labels))
        (left, left_labels), (right, right_labels) = sides
        axes = tuple(a for a in self.state.order if a in left_labels or a in right_labels)
        width = "N" in left_labels or "N" in right_labels
        kept = [a for a in axes if a not in summed]
        out = [*kept, *(f"c{c}" for c in op.out_axes), *(["N"] if width else [])]
        left, left_labels = _summed_away(left, left_labels, [*right_labels, *out])
        right, right_labels = _summed_away(right, right_labels, [*left_labels, *out])
        text = contract_text(left, tuple(left_labels), right, tuple(right_labels), tuple(out))
        for axis in summed:
            # (As in `reduced`: what is the same in every iteration.)
            if axis not in axes:
                text = f"{text} * float({int_text(self.state.every_axis[axis].length)})"
        return text, Layout(tuple(kept), len(op.out_axes), width)


def _summed_away(text: str, labels: list[str], kept: Sequence[str]) -> tuple[str, list[str]]:
    """An operand of an einsum summed over the axes that neither the other operand nor the result has."""
    for label in [x for x in labels if x not in kept]:
        text = f"np.sum({text}, axis={labels.index(label)})"
        labels = [x for x in labels if x != label]
    return text, labels


def _labels(layout: Layout) -> tuple[str, ...]:
    return (*layout.axes, *(f"f{i}" for i in range(layout.finite)), *(["N"] if layout.width else []))


def _without(layout: Layout, labels: tuple[str, ...]) -> Layout:
    own = set(_labels(layout)) & set(labels)
    finite = layout.finite - sum(label.startswith("f") and label[1:].isdigit() for label in own)
    return Layout(tuple(a for a in layout.axes if a not in labels), finite, layout.width and "N" not in labels)


def contract_text(left: str, left_labels: tuple[str, ...], right: str, right_labels: tuple[str, ...],
                  out: tuple[str, ...]) -> str:
    """A call of `rt.contract` with one letter a label."""
    letters: dict[str, str] = {}
    for label in (*left_labels, *right_labels, *out):
        letters.setdefault(label, "abcdefghijklmopqrstuvwxyz"[len(letters)])
    spec = ["".join(letters[x] for x in side) for side in (left_labels, right_labels, out)]
    return f'rt.contract("{spec[0]},{spec[1]}->{spec[2]}", {left}, {right})'


def _is_literal(text: str) -> bool:
    try:
        float(text.replace("np.inf", "inf"))
    except ValueError:
        return False
    return True


def _kernel_literal(text: str) -> str:
    return f"({text})" if text.startswith("-") else text.replace("np.inf", "inf")
