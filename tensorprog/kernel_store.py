"""Kernels that do not fit into memory: computed by blocks of rows, and streamed to a Zarr group (the extra `zarr`).

Every block is the kernel of some rows with all columns; it is written and forgotten, here or by workers of a cluster that see
the same file system. The group appears under its name when all of it is there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorprog.diagnostics import Diagnostic
from tensorprog.files import mistake, shown
from tensorprog.ir.integers import IntSym
from tensorprog.kernels import by_name
from tensorprog.optional import optional
from tensorprog.scheduler import Scheduler, connected

if TYPE_CHECKING:
    from tensorprog.api import CompiledProgram

Arrays = dict[str, Any]
#: Bytes of the values of a block of rows, unless the number of rows is asked for. Computing and compressing them takes ten times as much.
BLOCK_BYTES = 32e6
#: The largest number of columns of a chunk on disk.
CHUNK_COLUMNS = 4096


@dataclass(frozen=True)
class StoredKernels:
    """Kernels in a Zarr group.

    Attributes:
        path: of the group; it has an array [..., N1, N2] for every output.
        shapes: of the arrays, by output.
        errors: the largest error of an element of each, relative to the largest element of its block of rows.
        warnings: what there is to say of some block, each thing once.
    """

    path: str
    shapes: Mapping[str, tuple[int, ...]]
    errors: Mapping[str, float]
    warnings: tuple[Diagnostic, ...] = ()


def stream_kernels(program: CompiledProgram, first: object, second: object = None, *, path: str | os.PathLike[str],
                   rows: int | None = None, dtype: str = "float64", threads: int | None = None,
                   settings: Mapping[str, object] | None = None, scheduler: Scheduler | None = None,
                   progress: Callable[[int, int], None] | None = None) -> StoredKernels:
    """Write every output that is a kernel over pairs of rows to a Zarr group.

    Args:
        first, second, dtype, threads, settings: as for `CompiledProgram.kernels_with`.
        path: of the group, which is replaced if there is one.
        rows: how many rows a block has; by default as many as make some 32 MB.
        scheduler: of `dask.distributed`, whose workers write the blocks.

    Raises:
        ProgramError: as `kernels` does; TP707, if the group cannot be written; TP708, for less than one row; TP731, without
            the package zarr.
    """
    zarr = optional("zarr", "zarr", "streaming kernels")
    if rows is not None and rows < 1:
        raise mistake("TP708", f"blocks have at least one row, not {rows}")
    settings = dict(settings or {})
    data, columns = _arrays(program, first), None if second is None else _arrays(program, second)
    job = _Job(program, data, columns if columns is not None else data, settings, dtype, threads)
    count, axis = job.count()
    probe = job.block(0, 1, axis)
    shapes = {name: (*value.shape[:-2], count, value.shape[-1]) for name, value in probe.items()}
    wide = sum(value.nbytes for value in probe.values())
    rows = min(count, rows or max(1, int(BLOCK_BYTES // wide)))
    target = Path(path)
    _require_replaceable(target)
    with _temporary(target) as folder:
        group = zarr.open_group(str(folder), mode="w")
        for name, shape in shapes.items():
            chunks = (*(1 for _ in shape[:-2]), rows, min(shape[-1], CHUNK_COLUMNS))
            group.create_array(name, shape=shape, chunks=chunks, dtype=probe[name].dtype)
        starts = range(0, count, rows)
        errors = dict.fromkeys(shapes, 0.0)
        found: dict[tuple[str, str], Diagnostic] = {}
        for done, (worst, said) in enumerate(_written(job, axis, starts, rows, str(folder), scheduler), 1):
            errors = {name: max(errors[name], worst[name]) for name in errors}
            found |= {(w.code, w.message.partition(" from ")[0]): w for w in said}
            if progress is not None:
                progress(done, len(starts))
    return StoredKernels(str(path), shapes, errors, tuple(found.values()))


@dataclass(frozen=True)
class _Job:
    program: CompiledProgram
    first: Arrays
    second: Arrays
    settings: Mapping[str, object]
    dtype: str
    threads: int | None

    def count(self) -> tuple[int, str]:
        """How many rows there are, and the size that counts them: that of the first input's first axis."""
        inputs = [i for i in self.program.program.inputs if i.shape]
        if not inputs or not isinstance(inputs[0].shape[0], IntSym) or inputs[0].name not in self.first:
            raise mistake("TP712", "no input has rows over which blocks could go", "use `run`")
        return len(self.first[inputs[0].name]), inputs[0].shape[0].name

    def block(self, start: int, stop: int, axis: str) -> Any:
        """The kernels of some rows with all columns."""
        part = dict(self.first)
        for declared in self.program.program.inputs:
            places = [k for k, item in enumerate(declared.shape) if isinstance(item, IntSym) and item.name == axis]
            if declared.name in part and places:
                part[declared.name] = np.take(part[declared.name], range(start, stop), axis=places[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # they are collected
            return self.program.kernels_with(part, self.second, self.settings, threads=self.threads, dtype=self.dtype)


def write_block(job: _Job, axis: str, start: int, stop: int, folder: str) -> tuple[dict[str, float], tuple[Diagnostic, ...]]:
    """Compute a block of rows and write it; its worst relative errors, and what there is to say of it."""
    import zarr

    found = job.block(start, stop, axis)
    group = zarr.open_group(folder, mode="r+")
    for name, value in found.items():
        group[name][..., start:stop, :] = value
    return {name: found.error.worst(name) for name in found}, found.warnings


def _written(job: _Job, axis: str, starts: range, rows: int, folder: str,
             scheduler: Scheduler | None) -> Iterator[tuple[dict[str, float], tuple[Diagnostic, ...]]]:
    """Every block in its order, when it is written."""
    with connected(scheduler) as cluster:
        if cluster is None:
            for start in starts:
                yield write_block(job, axis, start, min(start + rows, starts.stop), folder)
            return
        shared = cluster.shared(job)
        waiting = [cluster.submit(write_block, shared, axis, start, min(start + rows, starts.stop), folder) for start in starts]
        for wait in waiting:
            result: Any = wait()
            yield result


def _arrays(program: CompiledProgram, data: object) -> Arrays:
    return {name: np.asarray(value) for name, value in by_name(program, data).items()}


def _require_replaceable(target: Path) -> None:
    if target.exists() and not (target / "zarr.json").exists():
        raise mistake("TP707", f"'{shown(target)}' is there already, and is no Zarr group", "choose another name")


class _temporary:
    """A folder beside the target, which takes its place at the end, or goes where something fails."""

    def __init__(self, target: Path):
        self.target = target

    def __enter__(self) -> Path:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=".tpc-", dir=self.target.absolute().parent))
        except OSError as error:
            raise mistake("TP707", f"'{shown(self.target)}' cannot be written: {error.strerror}") from None
        return self.folder

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            old = self.folder.with_name(self.folder.name + ".old")
            if self.target.exists():
                os.replace(self.target, old)
            os.replace(self.folder, self.target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
