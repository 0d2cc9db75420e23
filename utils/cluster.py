"""One function over many chunks: in this process, on workers of this machine, or on any Dask.

A result does not depend on where it is computed: workers have one thread each, and results come in
the order of the chunks. What all chunks need, such as a network, goes to each worker once, beside
Dask's task graph.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from uuid import uuid4

import cloudpickle
import dask
from distributed import Client, LocalCluster, WorkerPlugin

from utils.progress import progress_bar
from utils.versions import code_sha256

# Of the libraries below TensorFlow, NumPy and OpenCV.
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
_ONE_THREAD |= {f"TF_NUM_{name}_THREADS": "1" for name in ("INTRAOP", "INTEROP")}
AHEAD = 2  # chunks per worker that are sent before the first result is taken
RETRIES = 2  # of a chunk that raises; where workers are lost, Dask itself tries again
TIMEOUT = 20  # seconds until a scheduler has answered
_connected: list[Client] = []  # none: chunks are computed in this process
_received: dict[str, bytes] = {}  # on workers: function and shared objects, by key


class ChunksFailed(RuntimeError):
    """Chunks failed on every try; the results of all others were yielded."""


def connect(scheduler: str = "", *, workers: int | None = None) -> None:
    """Choose where chunks are computed from now on.

    Parameters
    ----------
    scheduler : str
        Empty for this process; ``local`` for workers of this machine; or the address of a Dask
        scheduler, such as ``tcp://node1:8786``, whose workers import this repository.
    workers : int, optional
        Number of local workers; by default one per core.
    """
    disconnect()
    if scheduler == "local":
        options = {"n_workers": workers or os.cpu_count(), "threads_per_worker": 1}
        with dask.config.set({"distributed.nanny.pre-spawn-environ": _ONE_THREAD}):
            _connected.append(Client(LocalCluster(**options, dashboard_address=None)))
    elif scheduler:
        try:
            _connected.append(Client(scheduler, timeout=TIMEOUT))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"SCHEDULER is {scheduler!r}, where no Dask scheduler answers ({error}); expected "
                '"" for this process, "local", or an address such as tcp://node1:8786.'
            ) from error
        _check_workers(_connected[-1])


def disconnect() -> None:
    """Close the connection and any local workers: chunks are computed in this process again."""
    while _connected:
        with _connected.pop() as client:
            local = client.cluster
        if local is not None:
            local.close()


def map_chunks(
    function: Callable, chunks: Iterable[tuple[str, tuple]], *, shared: Sequence = (), **bar: Any
) -> Iterator[tuple[str, Any]]:
    """Yield names and results of ``function(*shared, *arguments)`` in the order of the chunks.

    `chunks` are unique names and small arguments, taken as results are, so that few are in memory;
    `shared` is what all of them need. `bar` has options of the progress bar: desc, total, unit.
    After the last result, ChunksFailed names the chunks that failed, and their errors.
    """
    failed: dict[str, BaseException] = {}
    results = _on_workers if _connected else _in_process
    with progress_bar(**{"unit": "chunk", "disable": "desc" not in bar, **bar}) as shown:
        for name, result in results(function, chunks, shared, failed):
            yield name, result
            shown.update()
    if failed:
        errors = "; ".join(f"{name}: {error}" for name, error in list(failed.items())[:5])
        raise ChunksFailed(f"{len(failed)} failed: {errors}") from next(iter(failed.values()))


def _in_process(function, chunks, shared, failed):
    for name, arguments in chunks:
        try:
            result = function(*shared, *arguments)
        except Exception as error:
            failed[name] = error
        else:
            yield name, result


def _on_workers(function, chunks, shared, failed):
    client, chunks, pending = _connected[-1], iter(chunks), deque()
    with _sent_once(client, (function, *shared)) as key:
        while True:
            ahead = AHEAD * max(1, sum(client.nthreads().values()))
            while len(pending) < ahead and (chunk := next(chunks, None)):
                options = {"key": f"{key}-{chunk[0]}", "retries": RETRIES}
                pending.append((chunk[0], client.submit(_call, key, chunk[1], **options)))
            if not pending:
                return
            name, future = pending.popleft()
            try:
                result = future.result()
            except Exception as error:  # the function's, or KilledWorker
                failed[name] = error
            else:
                yield name, result


class _Shared(WorkerPlugin):
    """Brings pickled objects to every worker, also to those that start later."""

    def __init__(self, key: str, content: bytes):
        self.name, self.content = key, content

    def setup(self, worker) -> None:
        _received[self.name] = self.content

    def teardown(self, worker) -> None:
        _received.pop(self.name, None)


@contextmanager
def _sent_once(client: Client, shared: Sequence) -> Iterator[str]:
    key = uuid4().hex
    client.register_plugin(_Shared(key, cloudpickle.dumps(shared)))
    try:
        yield key
    finally:
        with suppress(Exception):  # the connection is gone
            client.unregister_worker_plugin(key)


_unpacked = lru_cache(maxsize=2)(lambda key: cloudpickle.loads(_received[key]))


def _call(key: str, arguments: tuple) -> Any:
    function, *shared = _unpacked(key)
    return function(*shared, *arguments)


def _check_workers(client: Client) -> None:
    """Raise ValueError if workers run other code than this process, or none of it."""

    def code_of_worker() -> str:  # sent by value: a module that is missing would stop a worker
        try:
            from utils import versions
        except ImportError as error:
            return str(error)
        return versions.code_sha256()

    client.wait_for_workers(1, timeout=TIMEOUT)
    hashes = set(client.run(code_of_worker).values())
    if hashes != {code_sha256()}:
        raise ValueError(
            f"workers at {client.scheduler.address} do not import the same version of utils "
            f"({hashes}): put this repository's folder on their PYTHONPATH, and start them again."
        )
