"""Work on other machines: replicates, networks and points of sweeps on a cluster of `dask.distributed` (the extra `dask`).

The units are independent, and each has its seed; results are collected in the order of the units, whoever computed them, so
that they do not depend on the number of workers. A unit whose worker is lost is computed again by another one. Every worker
needs tensorprog of the same version, and runs one unit at a time on each of its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, Union

from tensorprog.files import mistake

if TYPE_CHECKING:
    import numpy as np
    from distributed import Client

    from tensorprog.api import CompiledProgram
    from tensorprog.results import Result
    from tensorprog.runtime import Notes

#: Seconds after which a scheduler that does not answer is given up.
PATIENCE = 20

#: An address, a client, or a cluster that is connected already.
Scheduler = Union[str, "Client", "Cluster"]
#: Waits for a result.
Waiting = Callable[[], Any]
_Found = TypeVar("_Found")


class Cluster:
    """A client of a scheduler, and what was asked of it."""

    def __init__(self, client: Client):
        self.client = client
        self._futures: list = []

    def submit(self, function: Callable[..., _Found], *args: object, **options: object) -> Callable[[], _Found]:
        """Run a function on some worker; a function that waits for its result, and raises what it raised."""
        future = self.client.submit(function, *args, **options, pure=False)
        self._futures.append(future)
        return future.result

    def shared(self, value: object) -> object:
        """Something that many units need, sent to workers once."""
        future, = self.client.scatter([value], hash=False)
        self._futures.append(future)
        return future

    def cancel(self) -> None:
        """Give up what has not been computed, and forget the rest."""
        self.client.cancel([future for future in self._futures if not future.done()])
        self._futures.clear()

    def replicates(self, text: str, env: Mapping[str, object], samples: int, tolerance: float | None,
                   notes: Notes | None) -> Callable:
        """Runs replicates of an emitted module: for `runtime.replicates.run_replicates`. `notes` get what they tell."""
        module, shared = self.shared(text), self.shared(dict(env))

        def noted(wait: Waiting) -> Waiting:
            def values() -> Mapping[str, np.ndarray]:
                found, crowded = wait()
                if notes is not None:
                    notes.crowded.extend(crowded)
                return found
            return values

        def remote(units: list, *, dtype: str) -> list[Waiting]:
            return [noted(self.submit(_replicate, module, shared, samples, tolerance, seed, part, dtype))
                    for seed, part in units]

        return remote


@contextmanager
def connected(scheduler: Scheduler | None) -> Iterator[Cluster | None]:
    """The cluster of a scheduler, given by its address or by a client; None stays None.

    Raises:
        ProgramError: TP731, without the package; TP736, if the scheduler is not there, or is none.
    """
    if scheduler is None or isinstance(scheduler, Cluster):
        yield scheduler
        return
    from tensorprog.optional import optional

    client_type = optional("distributed", "dask", "a scheduler").Client
    if not isinstance(scheduler, str | client_type):
        raise mistake("TP736", f"a scheduler is an address or a `distributed.Client`, not {scheduler!r}",
                      "write `scheduler=\"tcp://127.0.0.1:8786\"`")
    client = _client(client_type, scheduler) if isinstance(scheduler, str) else scheduler
    cluster = Cluster(client)
    try:
        yield cluster
    finally:
        cluster.cancel()
        if isinstance(scheduler, str):
            client.close()


def _client(client_type: type, address: str) -> Client:
    try:
        return client_type(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise mistake("TP736", f"there is no scheduler at '{address}': {error}",
                      "start one with `dask scheduler`, and workers with `dask worker ADDRESS`") from None


# --- what workers do -----------------------------------------------------------------------------------------


def _replicate(text: str, env: dict[str, object], samples: int, tolerance: float | None, seed: np.random.SeedSequence,
               part: tuple[int, int], dtype: str) -> tuple[dict[str, np.ndarray], list[tuple[int, int]]]:
    import numpy as np
    from threadpoolctl import threadpool_limits

    from tensorprog.modules import load_module
    from tensorprog.runtime import Notes, part_size

    notes = Notes()
    with threadpool_limits(1), np.errstate(all="ignore"):
        values = load_module(text).replicate(env, part_size(samples, part[1]), seed, tolerance, lambda: None, part=part,
                                             dtype=dtype, notes=notes if part == (0, 1) else None)
    return dict(values), notes.crowded


def network(program: CompiledProgram, env: dict[str, object], width: int, seed: int) -> dict[str, np.ndarray]:
    """The outputs of one network."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return program.network(env, width, seed)


def point(program: CompiledProgram, data: Mapping[str, object] | None, settings: Mapping[str, object],
          width: int | None, options: Mapping[str, Any]) -> Result:
    """The result of one point of a sweep."""
    if width is not None:
        return program.simulate_with(data, settings, width=width, **options)
    return program.run_with(data, settings, **options)
