from dataclasses import replace

import numpy as np
import pytest

from utils.optvis import recipes
from utils.optvis.atlas import activation_atlas, render_atlas


@pytest.fixture
def models(tiny_model):
    other = tiny_model.copy()
    for variable in other.network.trainable_variables:
        variable.assign(0.8 * variable)
    return {"pretrained": tiny_model, "finetuned": replace(other, weights="finetuned")}


def test_cells_have_the_means_of_what_lies_in_them(models, colored_patches):
    atlas = activation_atlas(models, colored_patches, "late", cells=3, positions=2, least=4)
    for name, model in models.items():
        assert atlas.counts[name].sum() == 2 * len(colored_patches)
        assert atlas.places[name].shape == (2 * len(colored_patches), 2)
        known = np.isfinite(atlas.vectors[name]).all(axis=-1)
        np.testing.assert_array_equal(known, atlas.counts[name] >= 4)
        images = model.preprocess(colored_patches.images)
        everything = model.submodel(["late"])(images)["late"].numpy().reshape(-1, 6)
        means = atlas.vectors[name][known]
        assert (means <= everything.max(axis=0) + 1e-5).all() and (means >= 0).all()
    total = sum((atlas.tumor[n] * atlas.counts[n])[atlas.counts[n] > 0].sum() for n in models)
    assert total == pytest.approx(4 * colored_patches.labels.sum())
    again = activation_atlas(models, colored_patches, "late", cells=3, positions=2, least=4)
    np.testing.assert_array_equal(again.places["finetuned"], atlas.places["finetuned"])


def test_alike_activations_lie_together(models, colored_patches):
    """The two classes have different colours, which cells tell apart."""
    atlas = activation_atlas(models, colored_patches, "late", cells=4, positions=2, least=3)
    shares = atlas.tumor["pretrained"][atlas.counts["pretrained"] >= 3]
    assert (np.abs(shares - 0.5) > 0.3).mean() > 0.6


def test_directions_are_rendered_where_there_are_any(models, colored_patches):
    atlas = activation_atlas(models, colored_patches, "late", cells=3, positions=1, least=4)
    images = render_atlas(models, atlas, recipes.fast(4), size=16)
    for name in models:
        known = np.isfinite(atlas.vectors[name]).all(axis=-1)
        assert images[name].shape == (3, 3, 16, 16, 3)
        assert (images[name][~known] == 1).all() and images[name][known].std() > 0
    with pytest.raises(ValueError, match="positions are too few"):
        activation_atlas(models, colored_patches.select(np.arange(2)), "late", positions=1)
