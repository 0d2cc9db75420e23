"""Chunks here and on real workers: the same results, whatever is killed."""

import os
import pickle
import signal
import sys
import time

import cloudpickle
import numpy as np
import pytest
from distributed import LocalCluster

from utils import cluster
from utils.cluster import ChunksFailed, map_chunks
from utils.networks import layer_features
from utils.networks.model import Model

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not import tests


@pytest.fixture
def workers():
    """Two local workers; the test gets their client."""
    cluster.connect("local", workers=2)
    yield cluster._connected[-1]
    cluster.disconnect()


def _square(factor, number):
    time.sleep(0.01)
    return factor * number**2, os.getpid()


def _odd(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def _numbers(count):
    return ((f"number {n}", (n,)) for n in range(count))


def test_results_come_in_order_here_and_from_workers(workers):
    names, results = zip(*map_chunks(_square, _numbers(40), shared=(3,)), strict=True)
    assert list(names) == [f"number {n}" for n in range(40)]
    assert [value for value, _ in results] == [3 * n**2 for n in range(40)]
    processes = {pid for _, pid in results}
    assert len(processes) == 2 and os.getpid() not in processes
    cluster.disconnect()
    assert [r for _, r in map_chunks(_square, _numbers(3), shared=(3,))][2] == (12, os.getpid())


@pytest.mark.parametrize("scheduler", ["", "local"])
def test_failed_chunks_are_named_and_the_rest_is_kept(scheduler):
    cluster.connect(scheduler, workers=2)
    taken = []
    try:
        with pytest.raises(ChunksFailed, match="2 failed: number 1: 1 is odd; number 3: 3 is odd"):
            taken.extend(result for _, result in map_chunks(_odd, _numbers(5)))
    finally:
        cluster.disconnect()
    assert taken == [0, 2, 4]
    with pytest.raises(ValueError, match="^1 is odd$"):
        list(map_chunks(_odd, [("only", (1,))]))


def test_few_chunks_are_taken_ahead(workers):
    taken = []

    def chunks():
        for number in range(50):
            taken.append(number)
            yield str(number), (number,)

    results = map_chunks(_odd, ((name, (2 * n,)) for name, (n,) in chunks()))
    next(results)
    assert len(taken) <= cluster.AHEAD * 2 + 1
    assert sum(1 for _ in results) == 49


def _features(model, images):
    return layer_features(model, images, layers=["late"])["late"]


def test_a_network_goes_to_each_worker_once(workers, tiny_model, images, call_by_value):
    chunks = ((str(n), (np.roll(images, n, axis=1),)) for n in range(12))
    computed = dict(map_chunks(_features, chunks, shared=(tiny_model,)))
    for n in range(12):
        expected = layer_features(tiny_model, np.roll(images, n, axis=1), layers=["late"])["late"]
        np.testing.assert_allclose(computed[str(n)], expected, atol=1e-5)
    for factor in range(5):  # workers keep few of such objects
        list(map_chunks(_square, _numbers(1), shared=(factor,)))
    assert set(workers.run(lambda: len(cluster._received)).values()) == {cluster.KEPT}


def test_equal_objects_are_loaded_once_for_several_calls(workers, tiny_model, call_by_value):
    """Loading a network and compiling its functions takes seconds."""

    def loaded(model):
        time.sleep(0.05)
        return os.getpid(), id(model)

    chunks = [(str(n), ()) for n in range(8)]
    calls = [{r for _, r in map_chunks(loaded, chunks, shared=(tiny_model,))} for _ in range(2)]
    assert calls[0] == calls[1] and len(calls[0]) == 2
    assert pickle.dumps(tiny_model) == pickle.dumps(tiny_model)


def test_models_are_pickled_without_what_is_compiled(tiny_classifier, images):
    probability = tiny_classifier.predict(images)
    again = pickle.loads(pickle.dumps(tiny_classifier))
    assert isinstance(again, Model) and not again._compiled
    np.testing.assert_array_equal(again.predict(images), probability)


def test_workers_that_are_killed_change_nothing(workers):
    """Ten times SIGKILL at random moments, of real processes."""
    generator, killed, values = np.random.default_rng(0), 0, []
    moments = set(generator.choice(np.arange(20, 380), 10, replace=False).tolist())
    for index, (_, (value, _)) in enumerate(map_chunks(_square, _numbers(400), shared=(1,))):
        values.append(value)
        if index in moments:
            processes = workers.run(os.getpid)
            os.kill(generator.choice(list(processes.values())), signal.SIGKILL)
            killed += 1
    assert killed == 10 and values == [n**2 for n in range(400)]


def test_a_cluster_at_an_address(monkeypatch):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as other:
        cluster.connect(other.scheduler_address)
        results = [value for _, (value, _) in map_chunks(_square, _numbers(3), shared=(1,))]
        cluster.disconnect()
        monkeypatch.setattr("utils.cluster.code_sha256", lambda: "other")
        with pytest.raises(ValueError, match="import another version of utils"):
            cluster.connect(other.scheduler_address)
        cluster.disconnect()
    assert results == [0, 1, 4]
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with pytest.raises(ValueError, match="SCHEDULER is 'tcp://127.0.0.1:1'.*local"):
        cluster.connect("tcp://127.0.0.1:1")
