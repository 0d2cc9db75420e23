import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from utils.optvis.belief import believe, path_similarity, unlike_patches

LAYERS = ["one", "two"]


def _features(count, seed, strength=3.0):
    """Features of patches that share one cause per patch in both layers."""
    generator = np.random.default_rng(seed)
    mixing = [np.random.default_rng(9).normal(size=(4, 30)) for _ in LAYERS]
    cause = generator.normal(size=(count, 4))
    return {
        layer: strength * cause @ m + generator.normal(size=(count, 30))
        for layer, m in zip(LAYERS, mixing, strict=True)
    }


def test_similarity_is_the_mean_rank_correlation():
    images, patches = _features(3, 0), _features(20, 1)
    similarity = path_similarity(images, patches, LAYERS)
    expected = []
    for layer in LAYERS:
        mean, deviation = patches[layer].mean(axis=0), patches[layer].std(axis=0)
        one, other = ((x[layer] - mean) / deviation for x in (images, patches))
        expected.append([[spearmanr(a, b).statistic for b in other] for a in one])
    np.testing.assert_allclose(similarity, np.mean(expected, axis=0), atol=1e-6)
    among = path_similarity(images, images, LAYERS, patches)
    np.testing.assert_allclose(among.diagonal(), 1, rtol=1e-6)
    expected = []
    for layer in LAYERS:
        mean, deviation = patches[layer].mean(axis=0), patches[layer].std(axis=0)
        expected.append(spearmanr(*(images[layer][:2] - mean) / deviation).statistic)
    assert among[0, 1] == pytest.approx(np.mean(expected), abs=1e-6)
    constant = {layer: np.hstack([x, np.ones((len(x), 2))]) for layer, x in patches.items()}
    more = {layer: np.hstack([x, np.full((len(x), 2), 5.0)]) for layer, x in images.items()}
    np.testing.assert_allclose(path_similarity(more, constant, LAYERS), similarity, atol=1e-6)


def test_natural_images_are_believed_and_others_are_not():
    patches, groups = _features(200, 1), np.repeat(np.arange(20), 10)
    counts = {"one": 0, "two": 50}
    table = believe(_features(50, 2), patches, groups, counts)
    assert table["natural"].mean() == pytest.approx(0.95, abs=0.05)
    strange = {layer: np.random.default_rng(5).normal(size=(50, 30)) for layer in LAYERS}
    other = believe(strange, patches, groups, counts)
    assert other["natural"].mean() < 0.2 and other["path"].mean() < table["path"].mean()
    assert (table["path_patches"] == table["path_patches"][0]).all()


def test_images_are_judged_up_to_their_layer():
    patches, images = _features(40, 1), _features(5, 2)
    table = believe(images, patches, np.arange(40) % 2, {"one": 2, "two": 3})
    for rows, layers in ((slice(0, 2), ["one"]), (slice(2, 5), LAYERS)):
        expected = path_similarity(images, patches, layers)[rows].max(axis=1)
        np.testing.assert_allclose(table["path"][rows], expected, rtol=1e-6)


def test_patches_are_compared_with_other_groups_only():
    patches = {layer: np.repeat(x, 2, axis=0) for layer, x in _features(30, 1).items()}
    images, counts = _features(5, 2), {"one": 0, "two": 5}
    table = believe(images, patches, np.repeat(np.arange(30), 2), counts)
    assert table["path_patches"][0] < 0.99  # and not the twin in the same group
    with pytest.warns(UserWarning, match="60 patches are of one group"):
        alone = believe(images, patches, np.zeros(60), counts)
    assert alone["path_patches"][0] > 0.99


def test_unlike_patches_names_the_images():
    rows = [
        ("pretrained", "one", 3, True),
        ("finetuned", "one", 3, False),
        ("random", "two", 4, 0.4),
    ]
    table = pd.DataFrame(rows, columns=["network", "layer", "channel", "natural"])
    assert unlike_patches(table) == {("finetuned", "one", 3), ("random", "two", 4)}
