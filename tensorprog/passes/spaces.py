"""Which vectors need a common sample space ("common dimension classes", TP III, App. F).

Two vectors share a space if some coordinatewise operation, moment, cell or sample mixes them; a matrix separates the space that
it maps from, from the space that it maps to, unless something else joins them. Vectors in different spaces never meet
but through scalars, so each space gets samples of its own.
"""

from __future__ import annotations

from tensorprog.ir.program import (
    PRODUCT,
    Accum,
    Cell,
    Let,
    Load,
    MatAccum,
    MatDot,
    MatMul,
    MatrixTerm,
    MatrixType,
    MatStore,
    OuterTerm,
    Program,
    Statement,
    Store,
    TensorType,
    Term,
    Var,
    operands,
    walk,
)

Key = Var | Cell | tuple[Cell, str]


class Spaces:
    """The spaces of a program, numbered in order of declaration."""

    def __init__(self, program: Program):
        self._parent: dict[Key, Key] = {}
        self._numbers: dict[Key, int] = {}
        self.widths: list[str] = []
        for statement in walk(program.body):
            self._statement(statement)
        # A draw shows one coordinate of all its vectors.
        for sample in program.samples:
            for cell in sample.cells[1:]:
                self._join(sample.cells[0], cell)
        for initial in program.initials:
            for key, width in _keys(initial.cell):
                self._number(key, width)
        for statement in walk(program.body):
            if isinstance(statement, Let) and statement.var.type.width:
                self._number(statement.var, statement.var.type.width)

    def of(self, key: Key) -> int:
        """The number of the space of a vector, or of a matrix's (cell, 'rows') or (cell, 'cols')."""
        return self._numbers[self._find(key)]

    def _number(self, key: Key, width: str) -> None:
        root = self._find(key)
        if root not in self._numbers:
            self._numbers[root] = len(self._numbers)
            self.widths.append(width)

    def _find(self, key: Key) -> Key:
        root = key
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(key, key)) != root:  # shorter ways for the next time
            self._parent[key], key = root, parent
        return root

    def _join(self, a: Key, b: Key) -> None:
        first, second = self._find(a), self._find(b)
        if first != second:
            self._parent[second] = first
        self._parent.setdefault(first, first)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Let(var=var, op=MatMul(matrix=matrix, transposed=transposed, arg=arg)):
                rows, cols = _sides(matrix, transposed)
                self._join(rows, var)
                if arg.type.width:
                    self._join(cols, arg)
            case Let(var=var, op=Load(cell=cell)) if var.type.width:
                self._join(cell, var)
            case Let(op=MatDot(left=left, right=right)):
                self._join_sides(_sides(left.cell, left.transposed), _sides(right.cell, right.transposed))
            case Let(var=var, op=op):
                self._join_operands(var, operands(op))
            case Store(cell=cell, value=value) | Accum(cell=cell, value=value):
                if value.type.width and isinstance(cell.type, TensorType) and cell.type.width:
                    self._join(cell, value)
            case MatStore(cell=cell, terms=terms) | MatAccum(cell=cell, terms=terms):
                for term in terms:
                    self._term(cell, term)

    def _join_operands(self, var: Var, inputs: tuple[Var, ...]) -> None:
        wide = [v for v in (var, *inputs) if v.type.width]
        for other in wide[1:]:
            self._join(wide[0], other)

    def _term(self, cell: Cell, term: Term) -> None:
        rows, cols = _sides(cell, False)
        if isinstance(term, OuterTerm):
            self._join(rows, term.left)
            self._join(cols, term.right)
        elif isinstance(term, MatrixTerm):
            self._join_sides((rows, cols), _sides(term.cell, term.transposed))
        elif term.fn == PRODUCT:
            first, second = (_sides(m.cell, m.transposed) for m in term.matrices)
            # The product sums over the columns of one and the rows of the other.
            self._join(first[1], second[0])
            self._join_sides((rows, cols), (first[0], second[1]))
        else:
            # Entry by entry: rows meet rows, and columns columns.
            for matrix in term.matrices:
                self._join_sides((rows, cols), _sides(matrix.cell, matrix.transposed))

    def _join_sides(self, one: tuple[Key, Key], other: tuple[Key, Key]) -> None:
        for a, b in zip(one, other, strict=True):
            self._join(a, b)


def _sides(matrix: Cell, transposed: bool) -> tuple[Key, Key]:
    """The keys of the space that a matrix maps to and of the one that it maps from."""
    rows, cols = (matrix, "rows"), (matrix, "cols")
    return (cols, rows) if transposed else (rows, cols)


def _keys(cell: Cell) -> list[tuple[Key, str]]:
    if isinstance(cell.type, MatrixType):
        rows, cols = _sides(cell, False)
        return [(rows, cell.type.rows), (cols, cell.type.cols)]
    return [(cell, cell.type.width)] if cell.type.width is not None else []
