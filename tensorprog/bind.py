"""Data and settings to the environment that every evaluator reads: names -> ints, floats and arrays.

    bind(program, {"X": X}, {"eta": 0.1})  ->  {"P": 100, "d": 784, "eta": 0.1, "T": 50, "X": float64 [100, 784]}

Sizes come from the settings, from the shapes of the inputs, or from their defaults, and must agree everywhere. Whatever
is wrong is reported together, as one ProgramError (codes TP62x and TP63x).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorprog.diagnostics import Note, Reporter, Span, near_miss
from tensorprog.ir.constants import constant
from tensorprog.ir.integers import IntExpr, IntSym, evaluate_int, int_text, symbols
from tensorprog.ir.program import Initial, Input, MatrixType, Param, Program, Size

Env = dict[str, Any]  # integers and numbers, and arrays for inputs: what it is tells the declaration

# Of a float beyond this nobody knows which integer was meant: its neighbours are other numbers, all rounded to it.
LARGEST_EXACT = 2**53


def bind(program: Program, data: Mapping[str, object] | None = None,
         settings: Mapping[str, object] | None = None, *, finite: bool = True,
         reporter: Reporter | None = None) -> Env:
    """The environment of one run.

    Args:
        finite: whether inputs of real numbers are searched for entries that are not finite. A caller that reads them
            all anyway may do without, and call `check_finite` where it meets some.
        reporter: takes the warnings: arrays that the program does not use.

    Returns:
        sizes and integer parameters as int, real parameters as float, inputs as C-contiguous arrays
            of float64 or of integers.

    Raises:
        ProgramError: with everything that is missing, unknown, of the wrong kind or inconsistent.
    """
    binder = _Binder(program, reporter or Reporter(program.source), finite)
    binder.bind_settings(dict(settings or {}))
    # Settings of sizes come before shapes, so that a shape that does not fit is reported as such.
    binder.bind_inputs(dict(data or {}))
    # Defaults only now: a shape of the data comes before the default of a size.
    binder.solve_sizes()
    binder.check_shapes()
    binder.reporter.raise_errors()
    _check_laws(program, binder.env)
    return binder.env


def bind_given(program: Program, settings: Mapping[str, object], defaults: bool = False) -> Env:
    """The sizes and parameters that are set, and no others but (with `defaults`) parameters with a default: what inferring
    powers of n takes.

    Raises:
        ProgramError: for settings that the program does not have, or that are no numbers of their kind.
    """
    binder = _Binder(program, Reporter(program.source))
    binder.bind_settings(dict(settings), only_given=not defaults)
    binder.reporter.raise_errors()
    return binder.env


def check_headers(program: Program, headers: Mapping[str, np.ndarray], settings: Mapping[str, object]) -> None:
    """Check the data's names, shapes and types, from arrays whose entries are not read and need not exist.

    Raises:
        ProgramError: as `bind` does.
    """
    binder = _HeaderBinder(program, Reporter(program.source), finite=False)
    binder.bind_settings(dict(settings))
    binder.bind_inputs(dict(headers))
    binder.solve_sizes()
    binder.check_shapes()
    binder.reporter.raise_errors()


def check_finite(program: Program, env: Env, names: Iterable[str]) -> None:
    """Raises TP624 if bound inputs have entries that are not finite numbers."""
    binder = _Binder(program, Reporter(program.source))
    for declared in program.inputs:
        if declared.name in names:
            binder.is_finite(declared, env[declared.name])
    binder.reporter.raise_errors()


def _check_laws(program: Program, env: Env) -> None:
    """The numbers of every declared law make sense: variances, probabilities, intervals."""
    reporter = Reporter(program.source)
    for initial in program.initials:
        values = [constant(program, a, env)[0] for a in initial.law.args]
        wrong = _law_mistake(initial.law.name, values) or _drawn_mistake(program, initial, env)
        if wrong:
            name = initial.cell.display or initial.cell.name
            reporter.error("TP633", f"the law of '{name}' makes no sense: {wrong}", initial.cell.span,
                           help="change the parameters in it with --set, or the declaration")
    reporter.raise_errors()


def _drawn_mistake(program: Program, initial: Initial, env: Env) -> str | None:
    """What is wrong with the law of the entries of a matrix: they must have mean 0."""
    law = initial.drawn
    if law is None:
        return None
    values = [constant(program, a, env)[0] for a in law.args]
    # `-sqrt(3/n)` and `sqrt(3/n)` need not round to opposite numbers.
    if law.name == "uniform" and abs(values[0] + values[1]) > 1e-12 * abs(values[1]):
        return f"the entries of a matrix have mean 0, and these are from {values[0]:g} to {values[1]:g}"
    return _law_mistake(law.name, values)


def _law_mistake(law: str, values: list[float]) -> str | None:
    """What is wrong with the arguments of a law, if anything is."""
    match law, values:
        # Negated comparisons, so that NaN is a mistake, too.
        case "normal", [_, variance] if not variance >= 0:
            return f"its variance is {variance:g}"
        case "sparse_normal", [_, variance] if not variance >= 0:
            return f"its variance is {variance:g}"
        case ("sparse_normal" | "bernoulli"), [p, *_] if not 0 <= p <= 1:
            return f"its probability is {p:g}"
        case "uniform", [low, high] if not low < high:
            return f"its interval is from {low:g} to {high:g}"
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the value of a size was read: text for the message, and the declaration to point at."""

    text: str
    span: Span | None


@dataclass(slots=True)
class _Binder:
    program: Program
    reporter: Reporter
    finite: bool = True
    env: Env = field(default_factory=dict)
    origins: dict[str, _Origin] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    # --- settings --------------------------------------------------------------------------------------------

    def bind_settings(self, settings: Mapping[str, object], only_given: bool = False) -> None:
        """Parameters from the settings or (unless `only_given`) their defaults; sizes that the settings fix."""
        self._unknown_settings(settings)
        for param in self.program.params:
            if param.name in settings or not only_given:
                self._bind_param(param, settings)
        for size in self.program.sizes:
            if size.name in settings:
                self._bind_size(size, settings[size.name])

    def _unknown_settings(self, settings: Mapping[str, object]) -> None:
        known = [p.name for p in self.program.params] + [s.name for s in self.program.sizes]
        inputs = {i.name for i in self.program.inputs}
        widths = {w.name for w in self.program.widths}
        for name in settings:
            if name in known:
                continue
            if name in inputs:
                advice = f"{name} is an input: give it with the data, as in `{name}=file.npy`; in Python `{{'{name}': array}}`"
            elif name in widths:
                advice = f"{name} is a width: it tends to infinity, or is given to `simulate` as its width"
            else:
                advice = _did_you_mean(name, known, "parameters and sizes")
            self.reporter.error("TP631", f"the program has no parameter or size '{name}'", None, help=advice)

    def _bind_param(self, param: Param, settings: Mapping[str, object]) -> None:
        value = settings.get(param.name, param.default)
        if value is None:
            kind = "integer" if param.kind == "int" else "real"
            self._fail("TP627", param.name, f"the {kind} parameter '{param.name}' has no value and no default",
                       param.span, help=f"give it one: `--set {param.name}=...`, or {param.name}=... in Python")
            return
        convert = _as_int if param.kind == "int" else _as_float
        self._set(param.name, convert(value), value, param.span,
                  f"the parameter '{param.name}' must be " + _wanted(param.kind))

    def _bind_size(self, size: Size, value: object) -> None:
        self._set(size.name, _as_int(value), value, size.span, f"the size '{size.name}' must be " + _wanted("int"))
        if size.name in self.env:
            self.origins[size.name] = _Origin(f"it was set to {self.env[size.name]}", None)

    def _set(self, name: str, value: float | int | None, given: object, span: Span | None, wanted: str) -> None:
        if value is None:
            self._fail("TP628", name, f"{wanted}, not {_describe(given)}", span,
                       help=f"write a number, as in `--set {name}=3`")
        else:
            self.env[name] = value

    def _fail(self, code: str, name: str, message: str, span: Span | None, *, notes: Iterable[Note] = (),
              help: str | None = None) -> None:
        """Report an error that leaves `name` without a value, so that what depends on it stays quiet."""
        self.failed.add(name)
        self.reporter.error(code, message, span, notes=notes, help=help)

    # --- inputs ----------------------------------------------------------------------------------------------

    def bind_inputs(self, data: Mapping[str, object]) -> None:
        """Every input as an array of its kind, and the sizes that its shape determines."""
        self._unknown_inputs(data)
        for declared in self.program.inputs:
            if declared.name not in data:
                self._missing_input(declared, data)
                continue
            array = self._as_array(declared, data[declared.name])
            if array is None:
                self.failed |= {declared.name, *(s.name for item in declared.shape for s in symbols(item))}
            else:
                self.env[declared.name] = array
                self._read_sizes(declared, array)

    def _unknown_inputs(self, data: Mapping[str, object]) -> None:
        known = [i.name for i in self.program.inputs]
        # With every input there, another array is one too many; else it may be a misspelt one.
        report = self.reporter.warn if all(name in data for name in known) else self.reporter.error
        adjustable = {p.name for p in self.program.params} | {s.name for s in self.program.sizes}
        for name in data:
            if name in adjustable:
                self.reporter.error("TP621", f"'{name}' is not an input but a parameter or size", None,
                                    help=f"set it with `--set {name}=...`, or {name}=... in Python")
            elif name not in known:
                unused = "" if report == self.reporter.error else ": this array is not used"
                report("TP621", f"the program has no input '{name}'{unused}", None,
                       help=None if unused else _did_you_mean(name, known, "inputs"))

    def _missing_input(self, declared: Input, data: Mapping[str, object]) -> None:
        axes = ", ".join(int_text(item) for item in declared.shape)
        given = f"; the data has {_listed(data)}" if data else ""
        self._fail("TP620", declared.name, f"the input '{declared.name} : [{axes}]' is missing{given}", declared.span,
                   help=f"give it with the data: `{declared.name}=file.npy` after the program's name, "
                        f'or {{"{declared.name}": array}} in Python')
        self.failed |= {s.name for item in declared.shape for s in symbols(item)}

    def _as_array(self, declared: Input, given: object) -> np.ndarray | None:
        """The input as a finite, contiguous array of its kind; None after reporting what is wrong with it."""
        raw = self._raw_array(declared, given)
        # The axes first: a shape is read from the header, entries of a memory map from disk.
        if raw is None or not self._has_axes(declared, raw) or not self.is_finite(declared, raw):
            return None
        if declared.kind != "int":
            array = np.ascontiguousarray(raw, dtype=np.float64).reshape(raw.shape)
            # A long double may be infinite as a float64.
            return array if array.dtype == raw.dtype or self.is_finite(declared, array) else None
        if not self._is_integral(declared, raw):
            return None
        return np.ascontiguousarray(raw, dtype=_integer_type(raw)).reshape(raw.shape)

    def _raw_array(self, declared: Input, given: object) -> np.ndarray | None:
        # `asarray` would take what lies under the mask.
        if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
            return self._bad_kind(declared, "has masked entries", "fill them in: `.filled(value)`")
        try:
            raw = np.asarray(given)
        except (ValueError, TypeError) as error:
            return self._bad_kind(declared, f"is not a rectangular array: {error}", "give every row the same length")
        if raw.dtype.kind in "biuf":
            return raw
        if raw.dtype.kind == "c":
            return self._bad_kind(declared, "is complex", "give its real part: `.real`")
        if raw.dtype.kind in "USO" and hasattr(given, "toarray"):
            return self._bad_kind(declared, "is a sparse matrix", "convert it first: `.toarray()`")
        found = "strings" if raw.dtype.kind in "US" else f"entries of type {raw.dtype}"
        return self._bad_kind(declared, f"has {found} where numbers are needed", "convert it to an array of numbers")

    def _bad_kind(self, declared: Input, what: str, advice: str) -> np.ndarray | None:
        """No array, after saying why."""
        self.reporter.error("TP625", f"the input '{declared.name}' {what}", declared.span, help=advice)
        return None

    def _has_axes(self, declared: Input, raw: np.ndarray) -> bool:
        if raw.ndim == len(declared.shape):
            return True
        axes = ", ".join(int_text(item) for item in declared.shape)
        message = (f"the input '{declared.name}' is declared [{axes}], with {_counted(len(declared.shape), 'axis')}, "
                   f"but has shape {_shape_text(raw.shape)}, with {_counted(raw.ndim, 'axis')}")
        self.reporter.error("TP622", message, declared.span, help=_axes_advice(declared, raw))
        return False

    def is_finite(self, declared: Input, raw: np.ndarray) -> bool:
        """Whether the entries are finite numbers, as far as they are to be searched; reports the first that is not."""
        if not self.finite and declared.kind != "int":
            return True
        if raw.dtype.kind != "f" or _sums_are_finite(raw) or np.isfinite(raw).all():
            return True
        bad = ~np.isfinite(raw)
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        count = int(bad.sum())
        more = f" (the first of {count} such entries)" if count > 1 else ""
        self.reporter.error("TP624", f"{_element(declared.name, where)} is {raw[where]}{more}", declared.span,
                            help="remove or replace the entries that are not finite numbers")
        return False

    def _is_integral(self, declared: Input, raw: np.ndarray) -> bool:
        if raw.dtype.kind == "f":
            bad = (raw != np.floor(raw)) | (np.abs(raw) > LARGEST_EXACT)
        else:
            bad = (raw > np.iinfo(np.int64).max) if raw.dtype == np.uint64 else np.zeros(raw.shape, bool)
        if not bad.any():
            return True
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        self.reporter.error("TP626", f"'{declared.name}' is an integer input, but {_element(declared.name, where)} is "
                            f"{raw[where]}", declared.span,
                            help=f"give whole numbers, or declare `input {declared.name} : [...]` without `int`")
        return False

    # --- sizes -----------------------------------------------------------------------------------------------

    def _read_sizes(self, declared: Input, array: np.ndarray) -> None:
        """Sizes that stand alone on an axis of the input."""
        for axis, (item, length) in enumerate(zip(declared.shape, array.shape, strict=True)):
            if isinstance(item, IntSym) and item.kind == "size" and item.name not in self.env:
                self.env[item.name] = length
                self.origins[item.name] = _Origin(f"'{declared.name}' has {length} on axis {axis}", declared.span)

    def solve_sizes(self) -> None:
        """Defaults for the sizes that nothing determined, and the demand that every size has a positive value."""
        for size in self.program.sizes:
            if size.name not in self.env and size.default is not None:
                self.env[size.name] = size.default
                self.origins[size.name] = _Origin(f"its default is {size.default}", size.span)
            if size.name not in self.env and size.name not in self.failed:
                self._fail("TP629", size.name, f"nothing determines the size '{size.name}': it has no default, and no "
                           "input has it as an axis", size.span,
                           help=f"set it: `--set {size.name}=...`, or declare `size {size.name} = ...`")
            if size.name in self.env and self.env[size.name] < 1:
                self._not_positive("size", size.name, size.span)

    def _not_positive(self, kind: str, name: str, span: Span | None) -> None:
        origin = self.origins.get(name)
        why = f" ({origin.text})" if origin else ""
        self._fail("TP630", name, f"the {kind} '{name}' is {self.env[name]}, but a size must be at least 1{why}", span,
                   help="give data or a setting with at least one entry")

    def check_shapes(self) -> None:
        """Every axis of every input has the declared length, and no declared length is negative."""
        self._check_int_params()
        for declared in self.program.inputs:
            if declared.name in self.env:
                for axis, item in enumerate(declared.shape):
                    self._check_axis(declared, axis, item)
        for initial in self.program.initials:
            shape = () if isinstance(initial.cell.type, MatrixType) else initial.cell.type.shape
            for item in shape:
                self._check_length(item, initial.cell.display or initial.cell.name, initial.cell.span, least=1)
            for item in initial.extents:
                self._check_length(item, initial.cell.display or initial.cell.name, initial.cell.span, least=0)

    def _check_int_params(self) -> None:
        """An integer parameter that stands alone as an axis or as an extent is a size."""
        used = {item.name for item in _lengths(self.program) if isinstance(item, IntSym) and item.kind == "param"}
        for param in self.program.params:
            if param.name in used and param.name in self.env and self.env[param.name] < 1:
                self._not_positive("integer parameter", param.name, param.span)

    def _check_axis(self, declared: Input, axis: int, item: IntExpr) -> None:
        length = self.env[declared.name].shape[axis]
        wanted = self._length(item)
        if wanted is None or wanted == length:
            return
        text = int_text(item)
        notes = []
        for name in sorted({s.name for s in symbols(item)} & set(self.origins)):
            notes.append(Note(f"{name} = {self.env[name]}: {self.origins[name].text}", self.origins[name].span))
        value = "" if text == str(wanted) else f" = {wanted}"
        self.reporter.error("TP623", f"axis {axis} of the input '{declared.name}' has length {length}, but is declared "
                            f"{text}{value}", declared.span, notes=notes,
                            help="give arrays whose shapes agree" + ("" if notes else ", or change the setting"))

    def _check_length(self, item: IntExpr, name: str, span: Span | None, least: int) -> None:
        length = self._length(item)
        if length is not None and length < least:
            self.reporter.error("TP630", f"'{name}' is declared with {int_text(item)} = {length} entries", span,
                                help="use a larger value for " + _listed(s.name for s in symbols(item)))

    def _length(self, item: IntExpr) -> int | None:
        """The value of a length, None if something that it needs has failed."""
        if any(s.name in self.failed or s.name not in self.env for s in symbols(item)):
            return None
        try:
            return int(evaluate_int(item, self.env))
        except (ZeroDivisionError, ValueError, KeyError, IndexError):
            return None


# --- conversions and words -----------------------------------------------------------------------------------


class _HeaderBinder(_Binder):
    """Takes arrays as they are."""

    def _as_array(self, declared: Input, given: object) -> np.ndarray | None:
        raw = self._raw_array(declared, given)
        return raw if raw is not None and self._has_axes(declared, raw) else None


def _sums_are_finite(array: np.ndarray) -> bool:
    """Whether the squares of every row have a finite sum: in half the time a proof that all entries are finite, unless
    they are large."""
    return array.ndim > 1 and array.dtype == np.float64 and bool(np.isfinite(np.vecdot(array, array)).all())


def _lengths(program: Program) -> Iterable[IntExpr]:
    for declared in program.inputs:
        yield from declared.shape
    for initial in program.initials:
        yield from initial.extents
        if not isinstance(initial.cell.type, MatrixType):
            yield from initial.cell.type.shape


def _scalar(value: object) -> object:
    """The Python number inside a NumPy scalar or array of no axes; anything else unchanged."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def _as_int(value: object) -> int | None:
    value = _scalar(value)
    # True is an integer of Python's, and none that anyone means.
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    whole = int(math.trunc(value))
    return whole if value == whole and abs(whole) < 2**63 else None


def _as_float(value: object) -> float | None:
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    return float(value)


def _wanted(kind: str) -> str:
    return "a whole number" if kind == "int" else "a finite real number"


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {_shape_text(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(name: str, known: Iterable[str], what: str) -> str:
    meant = near_miss(name, known)
    if meant:
        return f"did you mean '{meant}'?"
    return f"its {what} are {_listed(known)}" if list(known) else f"it has no {what}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in dict.fromkeys(names))


def _counted(count: int, noun: str) -> str:
    plural = {"axis": "axes"}
    return f"{count} {noun if count == 1 else plural[noun]}"


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _element(name: str, where: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, where))}]" if where else name


def _axes_advice(declared: Input, raw: np.ndarray) -> str:
    if raw.ndim == len(declared.shape) + 1 and 1 in raw.shape:
        return f"drop the axis of length 1: `{declared.name}.squeeze({raw.shape.index(1)})`"
    if raw.ndim < len(declared.shape):
        return f"add the missing axes, as in `{declared.name}[:, None]`, or change the declaration"
    return "reshape the array, or change the declaration"


# From this size on an integer array is kept in few bytes if its entries allow.
LARGE = 1 << 20


def _integer_type(array: np.ndarray) -> np.dtype:
    """The type that an integer input is kept in; integer arithmetic on entries is done in int64."""
    if array.size < LARGE:
        return np.dtype(np.int64)
    if array.dtype.kind in "iu" and np.can_cast(array.dtype, np.int32):
        return array.dtype
    fits = int(array.max()) < 2**31 and int(array.min()) >= -(2**31)
    return np.dtype(np.int32 if fits else np.int64)
