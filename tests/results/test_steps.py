import functools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import FunctionType

import numpy as np
import pandas as pd
import pytest

from utils.concepts import texture_measures
from utils.optvis import recipes
from utils.results.steps import Steps, identity

_of_main = FunctionType((lambda: 0).__code__, {"__name__": "__main__"}, "of_main")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def test_a_step_is_made_once(tmp_path):
    steps = Steps(tmp_path)
    made = steps.once(texture_measures, IMAGES, distances=[2])
    again = Steps(tmp_path)
    pd.testing.assert_frame_equal(again.once(texture_measures, IMAGES.copy(), distances=[2]), made)
    assert (steps.made, steps.taken, again.made, again.taken) == (1, 0, 0, 1)
    pd.testing.assert_frame_equal(made, texture_measures(IMAGES, distances=[2]))
    again.once(texture_measures, IMAGES, distances=[3])
    again.once(texture_measures, IMAGES[:2], distances=[2])
    assert again.made == 2
    forced = Steps(tmp_path, force=True)
    forced.once(texture_measures, IMAGES, distances=[2])
    assert (forced.made, forced.taken) == (1, 0)


def test_damaged_steps_are_computed_again_and_unused_ones_removed(tmp_path, caplog):
    expected = Steps(tmp_path).once(texture_measures, IMAGES)
    (path,) = tmp_path.rglob("output.pkl")
    path.write_bytes(b"no pickle")
    steps = Steps(tmp_path)
    pd.testing.assert_frame_equal(steps.once(texture_measures, IMAGES), expected)
    assert "Exception while loading results" in caplog.text and (steps.made, steps.taken) == (1, 0)
    os.utime(path, (0, 0))
    Steps(tmp_path)
    assert not path.exists()


def _scaled(factor, values):
    return factor * np.asarray(values)


def test_chunks_are_steps(tmp_path):
    def call(numbers, factor=2, **options):
        steps = Steps(tmp_path, **options)
        results = dict(
            steps.map_chunks(_scaled, ((str(n), ([n],)) for n in numbers), shared=[factor])
        )
        assert [*results] == [str(n) for n in numbers]
        assert [r.tolist() for r in results.values()] == [[factor * n] for n in numbers]
        return steps.made, steps.taken

    assert call([1, 2]) == (2, 0)
    assert call([3, 2, 1]) == (1, 2)
    assert call([1, 2], factor=5) == (2, 0)
    assert call([1, 2], force=True) == (2, 0)
    for path in tmp_path.rglob("output.pkl"):
        path.write_bytes(b"no pickle")
    call([1, 2])


@pytest.mark.parametrize(
    "one, other",
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ([1, 2], (1, 2)),
        ([[1], 2], [[1, 2]]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, np.float32), np.zeros(1, np.float64)),
        (np.array(["a", "b"], object), np.array(["a", "c"], object)),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.Series([1, 2]), pd.Series([1, 2], index=[1, 0])),
        (recipes.fast(4), recipes.named("lucid", steps=4)),
        (texture_measures, recipes.fast),
        (functools.partial(texture_measures, distances=[1]), texture_measures),
    ],
)
def test_different_values_differ(one, other):
    assert identity(one) == identity(one) != identity(other)


def test_models_are_told_apart_by_their_weights(tiny_model):
    with pytest.raises(TypeError, match="no hash"):
        identity(tiny_model)
    one, other = replace(tiny_model, sha256="a"), replace(tiny_model, sha256="b")
    same = replace(tiny_model, sha256="a")
    assert identity({"x": one, "run": one.predict}) == identity({"x": same, "run": same.predict})
    assert identity({"run": one.predict}) != identity({"run": other.predict})


def test_what_cannot_be_told_apart():
    for value in (lambda: 0, [object()], {"a": np.array([object()])}, _of_main):
        with pytest.raises(TypeError, match="cannot be hashed"):
            identity(value)


def test_same_in_another_process():
    value = {"a": [1, "b", None], "c": np.arange(3), "d": pd.DataFrame({"x": ["y"]})}
    code = (
        "import numpy as np, pandas as pd; from utils.results.steps import identity; "
        "print(identity({'a': [1, 'b', None], 'c': np.arange(3), 'd': pd.DataFrame({'x': ['y']})}))"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout.decode().strip() == identity(value)
