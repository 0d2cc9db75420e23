"""A tiny backbone, so that most tests take a second, and real networks where they matter."""

import os
import runpy
import shutil
import sys

import cloudpickle
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.slide_files import asap, damage_tile, geojson, square, write_slide
from utils import assets
from utils.lucid_bridge import import_lucid
from utils.networks import (
    BACKBONES,
    Backbone,
    Model,
    WeightsUnavailable,
    choose_backbone,
    finetuned_model,
)
from utils.networks.checkpoints import add_head
from utils.networks.weights import finetuned_paths
from utils.patches import PatchSet, load_sample
from utils.patches.images import read_image

MARGIN, SIZE = 200, 1500  # of glass around a region of tissue, in pixels of level 0


def _tiny_application(include_top, weights, input_shape=(None, None, 3), input_tensor=None):
    image = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(image)
    x = keras.layers.Activation("relu", name="early_relu")(x)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", name="deep")(x)
    x = keras.layers.Activation("relu", name="late_relu")(x)
    return keras.Model(keras.utils.get_source_inputs(image)[0], x)


def _no_weights():
    raise WeightsUnavailable("Tiny has no pretrained weights.")


@pytest.fixture(scope="session")
def tiny_backbone() -> Backbone:
    return Backbone(
        name="tiny",
        title="Tiny",
        application=_tiny_application,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        minimum_size=8,
        default_size=16,
        layers={"early": "early_relu", "late": "late_relu"},
        visualised_layers=("early", "late"),
        cam_layer="late",
        pretrained=_no_weights,
    )


@pytest.fixture
def tiny_model(tiny_backbone) -> Model:
    """A network without head whose kernels depend on nothing but this seed."""
    network = tiny_backbone.build()
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(generator.normal(0, 0.3, variable.shape).astype(np.float32))
    return Model(network, tiny_backbone, "pretrained", "test", "")


@pytest.fixture
def tiny_classifier(tiny_model) -> Model:
    network = add_head(tiny_model.network)
    kernel = np.random.default_rng(1).normal(0, 1, (6, 1)).astype(np.float32)
    network.get_layer("tumor").set_weights([kernel, np.float32([0.1])])
    return Model(network, tiny_model.backbone, "finetuned", "test", "")


@pytest.fixture
def tail(tiny_classifier) -> keras.Model:
    """What follows the layer "early" in `tiny_classifier`, to the logit."""
    inputs = x = keras.Input((8, 8, 4))
    for name in ("deep", "late_relu", "pool"):
        x = tiny_classifier.network.get_layer(name)(x)
    head = tiny_classifier.network.get_layer("tumor")
    return keras.Model(inputs, keras.ops.matmul(x, head.kernel) + head.bias)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def colored_patches() -> PatchSet:
    """Two classes that differ in colour, four groups of each."""
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1], 32)
    base = np.where(labels[:, None], [200, 60, 160], [120, 100, 200])[:, None, None, :]
    pixels = np.clip(base + generator.normal(0, 20, (64, 16, 16, 3)), 0, 255).astype(np.uint8)
    groups = np.array([f"slide{i // 8}" for i in range(64)])
    return PatchSet(pixels, labels, groups, groups, np.full((64, 2), -1))


@pytest.fixture(scope="session")
def sample() -> PatchSet:
    return load_sample()


@pytest.fixture(scope="session")
def real_backbone() -> str:
    """InceptionV3 where its ImageNet weights are available, else DenseNet-121."""
    return choose_backbone("auto")


@pytest.fixture(scope="session")
def checkpoint(real_backbone, sample, tmp_path_factory):
    """A barely finetuned network; what it has learned does not matter here."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # made by the first process that needs it
        folder = folder.parent
    patches = sample.select(np.arange(0, len(sample), 12))
    finetuned_model(real_backbone, patches, folder=folder, epochs=1)
    return finetuned_paths(real_backbone, folder)[0]


@pytest.fixture
def planted():
    """A concept that is linear in the features but for noise, in 12 groups; and a null."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(480, 20))
    signal = features @ generator.normal(size=20)
    noise = generator.normal(size=480) * signal.std() / 2  # R2 of 1 / (1 + 1/4)
    measures = pd.DataFrame({"planted": signal + noise, "null": generator.normal(size=480)})
    return {"layer": features.astype(np.float32)}, measures, np.repeat(np.arange(12), 40)


@pytest.fixture(scope="session")
def evaluate():
    """Compute a Lucid objective of images, ``(N, H, W, 3)`` float in [0, 1], as they are."""
    tf1 = tf.compat.v1

    def evaluate(model, objective, images):
        optvis = import_lucid().optvis
        with tf1.Graph().as_default(), tf1.Session() as session:
            inputs = tf1.placeholder(tf.float32, images.shape)
            tensors = optvis.render.import_model(model, inputs, inputs)
            values = optvis.objectives.as_objective(objective)(tensors)
            return session.run(values, feed_dict={inputs: images})

    return evaluate


@pytest.fixture(scope="session")
def activations(evaluate):
    """Compute a layer's activations of images, ``(N, h, w, C)`` or ``(N, C)``, by Lucid."""
    return lambda model, images, layer: evaluate(model, lambda tensors: tensors(layer), images)


def averaging(network: keras.Model, *, middle: bool = False) -> keras.Model:
    """Copy a network whose layers all average, over their kernels or in the middle of them only."""

    def average(layer):
        if not isinstance(layer, keras.layers.MaxPooling2D):
            return layer.__class__.from_config(layer.get_config())
        pool = {"pool_size": layer.pool_size, "strides": layer.strides, "padding": layer.padding}
        return keras.layers.AveragePooling2D(name=layer.name, **pool)

    network = keras.models.clone_model(network, clone_function=average)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width = layer.kernel.shape[:2]
            kernel = np.zeros(layer.kernel.shape) if middle else np.ones(layer.kernel.shape)
            kernel[height // 2, width // 2] = 1
            layer.kernel.assign(kernel / kernel.sum(axis=(0, 1, 2)))
    return network


@pytest.fixture(scope="session")
def averaging_models() -> dict[str, Model]:
    models = {}
    for name in ("inceptionv3", "densenet121", "resnet50"):
        network = averaging(BACKBONES[name].build())
        models[name] = Model(network, BACKBONES[name], "random", "test", "")
    return models


@pytest.fixture
def passes(monkeypatch):
    """Numbers of images in all batches that go through a network, as they do."""
    sizes, preprocess = [], Model.preprocess

    def count(batch):
        sizes.append(len(batch))
        return batch

    def counted(self, images):
        batch = tf.numpy_function(count, [images], images.dtype)
        return preprocess(self, tf.ensure_shape(batch, images.shape))

    monkeypatch.setattr(Model, "preprocess", counted)
    return sizes


@pytest.fixture
def call_module(monkeypatch, capsys):
    """Run a module as ``python -m`` does; return exit code, output and errors."""

    def call(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        code = 0
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def regions():
    """The sample's regions, each in a margin of glass."""
    images = {}
    for name in ("hgsc_nest", "hgsc_stromal_he"):
        image = read_image(assets.path("hgsc", f"{name}.jpg"))
        side = SIZE + 2 * MARGIN
        images[name] = np.full((side, side, 3), 243, np.uint8)
        images[name][MARGIN:-MARGIN, MARGIN:-MARGIN] = image
    return images


@pytest.fixture(scope="session")
def slides(tmp_path_factory, regions):
    """A folder of two slides of two patients; half of the first is annotated as tumour."""
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "patient_001_node_0.tif", regions["hgsc_nest"])
    write_slide(folder / "patient_002_node_1.tif", regions["hgsc_stromal_he"])
    half = [(MARGIN, MARGIN), (950, MARGIN), (950, 1700), (MARGIN, 1700)]
    hole = [(300, 300), (600, 300), (600, 600), (300, 600)]
    asap(folder / "patient_001_node_0.xml", [("metastases", half), ("normal", hole)])
    outside = ("Tumor", "annotation", square(0, 0, 100))
    geojson(folder / "patient_002_node_1.geojson", [outside])
    return folder


@pytest.fixture
def damaged(slides, tmp_path):
    """The first slide, with one tile of its finest level overwritten, and its annotations."""
    path = tmp_path / "damaged" / "patient_001_node_0.tif"
    path.parent.mkdir()
    for name in (path.name, path.with_suffix(".xml").name):
        shutil.copy(slides / name, path.with_name(name))
    damage_tile(path, 9)
    return path


@pytest.fixture
def call_by_value(tiny_backbone):
    """Let workers, which do not import tests, have the tiny network."""
    cloudpickle.register_pickle_by_value(sys.modules[tiny_backbone.application.__module__])
