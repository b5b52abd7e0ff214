"""Sweeps: a program at all combinations of several values of parameters, sizes and the width, as one result.

    run_sweep(program, data, {"eta": [0.1, 0.2], "T": 5}, width=None, ...)   ->   f[eta, t, a]

Every point is a run of its own, with the threads shared by its replicates or networks. With a folder to keep them in, points that
were finished are read from there, so that a sweep which was stopped goes on, and one with more values computes the new ones only.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tensorprog import __version__
from tensorprog.diagnostics import ProgramError
from tensorprog.files import mistake
from tensorprog.registry import digest as digest_of_extensions
from tensorprog.results import Result
from tensorprog.save import load_result, save_results
from tensorprog.scheduler import Cluster, Scheduler, connected
from tensorprog.scheduler import point as run_point

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram

#: The axis of several widths.
WIDTH = "width"

Progress = Callable[[int, int], None]
Point = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """The values of what varies, by name, and a result for each of their combinations, the last name varying fastest. Fewer
    results than combinations: the sweep was interrupted."""

    varying: Mapping[str, tuple[float, ...]]
    results: tuple[Result, ...]

    @property
    def finished(self) -> bool:
        return len(self.results) == math.prod(map(len, self.varying.values()))

    def result(self, shown: Sequence[str] = ()) -> Result:
        """All points as one result: each output has what varies as its first indices, with these values as coordinates.
        Families that have other lengths at other points are filled up with NaN, as are points that were not reached.

        Args:
            shown: outputs and parts of them, as in `loss[-1]`, of every point; by default all outputs but draws.
        """
        if not self.varying:
            return self.results[0].only(shown) if shown else self.results[0]
        chosen = [r.only(shown).numbers() if shown else r.numbers() for r in self.results]
        names = list(chosen[0])
        values, errors = ({name: self._stacked([_array(part(r), name) for r in chosen]) for name in names}
                          for part in (lambda r: r, lambda r: r.error))
        diverged = {name: None for r in chosen for name in r.diverged}
        # What is the same at every point is a setting of the whole; the rest are coordinates.
        common = {k: v for k, v in chosen[0].settings.items() if all(r.settings.get(k) == v for r in chosen)}
        said = dict.fromkeys(w for r in chosen for w in r.warnings)
        return Result(values, errors, {n: ", ".join(dict.fromkeys(r.method[n] for r in chosen)) for n in names},
                      settings=common, warnings=tuple(said), diverged=diverged,
                      unresolved={n: self._stacked([_array(r.unresolved, n, r[n].shape) for r in chosen]) == 1 for n in names},
                      axes={n: (*self.varying, *chosen[0].axes[n]) for n in names}, coordinates=self.varying)

    def _stacked(self, arrays: list[np.ndarray]) -> np.ndarray:
        counts = tuple(map(len, self.varying.values()))
        shape = tuple(np.max([a.shape for a in arrays], axis=0).astype(int)) if arrays[0].ndim else ()
        # NaN for what a shorter family has not, and for points after an interruption.
        whole = np.full((math.prod(counts), *shape), np.nan)
        for k, array in enumerate(arrays):
            whole[k, ...][tuple(slice(length) for length in array.shape)] = array
        return whole.reshape(*counts, *shape)


def _array(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    return np.asarray(arrays[name] if name in arrays else np.zeros(shape), dtype=float)


def varying_values(settings: Mapping[str, object], width: object) -> dict[str, tuple[float, ...]]:
    """The settings that are lists, and the width if it is one.

    Raises:
        ProgramError: TP734, for a list without values or with one twice.
    """
    found: dict[str, tuple] = {name: tuple(value) for name, value in settings.items() if is_list(value)}
    if is_list(width):
        found[WIDTH] = tuple(width)
    for name, values in found.items():
        if not values or len(set(values)) < len(values):
            raise mistake("TP734", f"'{name}' has no values to go through" if not values else
                          f"'{name}' goes through a value twice", f"give several different ones, as in `{name}=[1, 2]`")
    return found


def is_list(value: object) -> TypeGuard[Iterable]:
    """Whether a setting is several values."""
    return isinstance(value, list | tuple | range) or isinstance(value, np.ndarray) and value.ndim == 1


def run_sweep(program: CompiledProgram, data: Mapping[str, object] | None, settings: Mapping[str, object], *,
              width: int | Sequence[int] | None = None, keep: str | os.PathLike[str] | None = None,
              progress: Progress | None = None, scheduler: Scheduler | None = None, **options: Any) -> Sweep:
    """Run every point.

    Args:
        settings: sizes and parameters, some of them lists.
        width: None for the limit, or one or several widths of networks.
        keep: a folder for the results of points, made if need be.
        progress: called with (points done, points in all).
        scheduler: of `dask.distributed`, whose workers run the points.
        options: of `CompiledProgram.run_with`, or with a width of `simulate_with`.

    Raises:
        ProgramError: for a mistake in the data or at a point; TP734, for a sweep without values.
        Interrupted: on Ctrl-C after the first point, with what was finished.
    """
    from tensorprog.api import Interrupted

    varying = varying_values(settings, width)
    fixed = {name: value for name, value in settings.items() if name not in varying}
    if not is_list(width):
        fixed |= {} if width is None else {WIDTH: width}
    points = [fixed | dict(zip(varying, values)) for values in itertools.product(*varying.values())]
    done: list[Result] = []
    try:
        with connected(scheduler) as cluster:
            for wait in _points(program, data, points, keep, width is not None, options, cluster):
                done.append(wait())
                if progress is not None:
                    progress(len(done), len(points))
    except KeyboardInterrupt:
        if not done:
            raise
        raise Interrupted(Sweep(varying, tuple(done))) from None
    return Sweep(varying, tuple(done))


def _points(program: CompiledProgram, data: Mapping[str, object] | None, points: list[Point],
            keep: str | os.PathLike[str] | None, finite: bool, options: Mapping[str, object],
            cluster: Cluster | None) -> list[Callable[[], Result]]:
    """A function for every point that gives its result, from the folder if it is there; those that are not are asked of a
    cluster at once."""
    shared = None if cluster is None else (cluster.shared(program), cluster.shared(data))

    def prepared(point: Point) -> Callable[[], Result]:
        path = None if keep is None else Path(keep) / f"point-{_digest(program, data, point, finite, options)}.npz"
        if path is not None:
            # A point that is damaged, or was not written whole, is computed again.
            with suppress(ProgramError, OSError):
                result = load_result(path)
                return lambda: result
        width = point[WIDTH] if finite else None
        settings = {name: value for name, value in point.items() if not (finite and name == WIDTH)}
        run: Callable[[], Result]
        if cluster is None or shared is None:
            run = partial(run_point, program, data, settings, width, options)
        else:
            run = cluster.submit(run_point, *shared, settings, width, options)
        # Kept here and not by a worker, which may have no such folder.
        return lambda: _kept(run(), path)

    return [prepared(point) for point in points]


def _kept(result: Result, path: Path | None) -> Result:
    if path is not None:
        _make_folder(path.parent)
        save_results(path, result)
    return result


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise mistake("TP707", f"cannot make the folder '{folder}': {error.strerror}", "give another name") from None


def _digest(program: CompiledProgram, data: Mapping[str, object] | None, point: Point, finite: bool,
            options: Mapping[str, object]) -> str:
    """What a point's result depends on."""
    digest = hashlib.sha256()
    # Results do not depend on the number of threads.
    counted = {name: value for name, value in options.items() if name != "threads"}
    described = [__version__, program.source.text, sorted(program.settings.items()), sorted(point.items()), finite,
                 sorted(counted.items())]
    # What was registered decides what the text means; without it the names of points stay what they were.
    described += [extensions] if (extensions := digest_of_extensions()) else []
    digest.update(json.dumps(described, default=_number).encode())
    for name, value in sorted((data or {}).items()):
        array = np.asarray(value)
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:20]


def _number(value: object) -> object:
    """A number of NumPy as one that JSON knows."""
    return value.item() if isinstance(value, np.generic) else str(value)
