"""One function over many chunks: in this process, on workers of this machine, or on any Dask.

Workers have one thread each; results come in the order of the chunks. What all need, as a network,
goes to each worker once, by a plugin. Workers at an address import this repository.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import cloudpickle
import dask
from distributed import Client, Future, LocalCluster, WorkerPlugin, wait

from utils.progress import progress_bar
from utils.versions import code_sha256

_ONE_THREAD = {f"{name}_THREADS": "1" for name in ("OMP_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")}
AHEAD, RETRIES, KEPT = 2, 2, 3  # chunks per worker; of one that raises; objects that workers keep
PATIENCE, TIMEOUT = 5, 9  # seconds until workers are counted, and a scheduler has answered
_connected: list[Client] = []  # none: chunks are computed in this process
_sent: list[str] = []  # names of what workers have
_received: dict[str, bytes] = {}  # on workers: shared objects, by name


class ChunksFailed(RuntimeError):
    """Chunks failed on every try; the results of others were yielded."""


def connect(scheduler: str = "", *, workers: int | None = None) -> None:
    """Compute chunks here (""), by local workers ("local"), or at the address of a scheduler."""
    disconnect()
    if scheduler == "local":
        options = {"n_workers": workers or os.cpu_count(), "threads_per_worker": 1}
        with dask.config.set({"distributed.nanny.pre-spawn-environ": _ONE_THREAD}):
            _connected.append(Client(LocalCluster(**options, dashboard_address="127.0.0.1:0")))
    elif scheduler:
        try:
            _connected.append(Client(scheduler, timeout=TIMEOUT))
        except Exception as error:  # what else may answer there sends anything
            raise ValueError(
                f'SCHEDULER is {scheduler!r}, where none answers; expected "", local or an address.'
            ) from error
        _check_workers(_connected[-1])


def disconnect() -> None:
    """Close the connection and any local workers: chunks are computed in this process again."""
    while _connected:
        with _connected.pop() as client, suppress(Exception):  # the connection may be gone
            local = client.cluster
            for name in _sent:
                client.unregister_worker_plugin(name)
        _sent.clear()
        (local or client).close()


def map_chunks(
    function: Callable, chunks: Iterable[tuple[str, tuple]], *, shared: Sequence = (), **bar: Any
) -> Iterator[tuple[str, Any]]:
    """Yield names and results of ``function(*shared, *arguments)`` in the order of the chunks.

    `chunks` are unique names and small arguments; `shared` is what all need. At the end,
    ChunksFailed names those that failed; if all did, alike, their error is raised.
    """
    failed, succeeded, chunks, pending = {}, False, iter(chunks), []
    submit, ahead = _submitting(function, shared)
    with progress_bar(**{"unit": "chunk", "disable": "desc" not in bar, **bar}) as bar:
        while True:
            while len(pending) < ahead() and (chunk := next(chunks, None)):
                pending.append((chunk[0], submit(*chunk)))
            if not pending:
                break
            name, result_of = pending.pop(0)
            try:
                yield name, result_of()
                succeeded = True
            except Exception as error:  # the function's, or KilledWorker
                failed[name] = error
            bar.update()
    if failed:
        errors = "; ".join(f"{name}: {error}" for name, error in list(failed.items())[:5])
        alike = not succeeded and len({*map(str, failed.values())}) == 1
        raise failed.popitem()[1] if alike else ChunksFailed(f"{len(failed)} failed: {errors}")


def _submitting(function: Callable, shared: Sequence) -> tuple[Callable, Callable]:
    """Return how to submit a chunk, and so to wait for its result; and how many to be ahead."""
    if not _connected:
        return lambda name, arguments: partial(function, *shared, *arguments), lambda: 1
    client, plugin = _connected[-1], _Shared(cloudpickle.dumps(tuple(shared)))
    job = partial(_call, cloudpickle.dumps(function), plugin.name)
    if plugin.name not in _sent:
        client.register_plugin(plugin)
        _sent.append(plugin.name)
    if len(_sent) > KEPT:
        client.unregister_worker_plugin(_sent.pop(0))

    def submit(name: str, arguments: tuple) -> Callable:
        return partial(_result, client, client.submit(job, arguments, retries=RETRIES, pure=False))

    return submit, lambda: AHEAD * max(1, sum(client.nthreads().values()))


def _result(client: Client, future: Future) -> Any:
    while not future.done():
        with suppress(TimeoutError):
            wait([future], timeout=PATIENCE)
        # Dask gives up a local worker that dies while it starts; at an address, others may come.
        if client.cluster and not client.nthreads():
            client.cluster.scale(len(client.cluster.worker_spec) + 1)
    return future.result()


class _Shared(WorkerPlugin):
    """Brings pickled objects to every worker, which knows equal ones of later calls by name."""

    def __init__(self, content: bytes):
        self.name, self.content = dask.base.tokenize(content), content

    def setup(self, worker) -> None:
        _received[self.name] = self.content

    def teardown(self, worker) -> None:
        _received.pop(self.name, None)


_unpacked = lru_cache(maxsize=KEPT)(lambda key: cloudpickle.loads(_received[key]))


def _call(function: bytes, key: str, arguments: tuple) -> Any:
    return cloudpickle.loads(function)(*_unpacked(key), *arguments)


def _check_workers(client: Client) -> None:
    """Raise ValueError if workers import other code than this process, or none of it."""

    def code_of_worker() -> str:  # sent by value: a module that is missing would stop a worker
        with suppress(ImportError):
            return import_module("utils.versions").code_sha256()
        return "none"

    client.wait_for_workers(1, timeout=TIMEOUT)
    if (hashes := {*client.run(code_of_worker).values()}) != {code_sha256()}:
        raise ValueError(f"workers import another version of utils ({hashes}): set PYTHONPATH.")
