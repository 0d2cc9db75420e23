import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from utils.networks import (
    Finetuning,
    average_seeds,
    by_seed,
    cross_predict,
    gates,
    layer_features_and_gradients,
    layer_features_of_folds,
    pool,
    sample_unseen,
    splits,
    unseen_by_any,
)

GROUPS = [f"slide{i}" for i in range(8)]


def finetuning(model, held_out, seed=0, fold=0):
    trained_on = [group for group in GROUPS if group not in held_out]
    row = {"condition": "first", "value": 0.8, "expected": "at least 0.9", "passed": False}
    return Finetuning(
        model,
        {
            "held_out": held_out,
            "trained_on": trained_on,
            "options": {"fold": fold, "seed": seed},
            "gate": [row],
        },
    )


@pytest.fixture
def study(tiny_classifier):
    """Two folds by two seeds, which leave two groups out of all held-out parts."""
    parts = (["slide0", "slide1", "slide4"], ["slide2", "slide3", "slide6"])
    return [
        finetuning(tiny_classifier, part, seed, fold)
        for fold, part in enumerate(parts)
        for seed in (0, 1)
    ]


def test_measures_are_pooled_and_averaged_over_seeds(study, colored_patches):
    kept = unseen_by_any(study, colored_patches)
    assert set(kept.groups) == {"slide0", "slide1", "slide2", "slide3", "slide4", "slide6"}

    def measure(one, unseen):
        value = 1.0 + one.manifest["options"]["seed"]
        columns = {"patch": range(len(unseen)), "group": unseen.groups, "value": value}
        return pd.DataFrame(columns)

    table = pool(study, kept, measure)
    assert (table["group"] == kept.groups[table["patch"]]).all()
    assert table["finetuning"].nunique() == 4 and len(table) == 2 * len(kept)
    averaged = average_seeds(table, ["value"])
    assert len(averaged) == len(kept) and (averaged["value"] == 1.5).all()
    assert averaged["patch"].is_unique and "finetuning" not in averaged
    holes = table.assign(value=table["value"].where(table["finetuning"] % 2 == 0))
    assert (average_seeds(holes, ["value"])["value"] == 1).all()


def test_predictions_are_means_over_networks_that_have_not_seen_the_patch(study, colored_patches):
    kept = unseen_by_any(study, colored_patches)
    expected = study[0].model.predict(kept.images)
    np.testing.assert_allclose(cross_predict(study, kept), expected, rtol=1e-6)


def test_training_patches_never_pass_as_unseen(study, colored_patches):
    trained = colored_patches.select(np.isin(colored_patches.groups, ["slide5", "slide7"]))
    assert not study[0].unseen(trained).any()
    with pytest.raises(ValueError, match="trained on all groups of .* give patches of other"):
        unseen_by_any(study, trained)


def test_draws_are_of_unseen_patches_of_every_network(study, colored_patches):
    drawn = sample_unseen(study, colored_patches, 3, seed=1)
    assert np.bincount(drawn.labels).tolist() == [6, 6]
    assert set(drawn.groups) <= set(unseen_by_any(study, colored_patches).groups)


def test_networks_of_one_seed_belong_together(study):
    assert {name: len(models) for name, models in by_seed(study).items()} == {
        "finetuned": 2,
        "finetuned 2": 2,
    }
    unknown = [Finetuning(study[0].model, {})] * 2
    assert [*by_seed(unknown)] == ["finetuned", "finetuned 2"]


def test_splits(study, colored_patches):
    (train, test), (_, other) = splits(study, colored_patches)
    assert set(colored_patches.groups[test]) == {"slide0", "slide1", "slide4"}
    assert set(colored_patches.groups[other]) == {"slide2", "slide3", "slide6"}
    assert sorted([*train, *test]) == list(range(64))
    assert splits([Finetuning(study[0].model, {})], colored_patches) is None
    mixed = [study[0], study[2], study[1]]
    with pytest.raises(ValueError, match="seeds hold out different groups: give networks"):
        splits(mixed, colored_patches)


def test_features_of_several_networks_stay_apart(study, colored_patches):
    images, model = colored_patches.images, study[0].model
    expected = layer_features_and_gradients(model, images, layers=["late"])
    features, gradients = layer_features_of_folds([model, model], images, layers=["late"])
    assert len(features["late"]) == len(gradients["late"]) == 2
    np.testing.assert_array_equal(features["late"][1], expected[0]["late"])
    np.testing.assert_array_equal(gradients["late"][0], expected[1]["late"])
    alone, _ = layer_features_of_folds([model], images, layers=["late"])
    np.testing.assert_array_equal(alone["late"], expected[0]["late"])


def test_gates_of_networks_with_and_without_a_manifest(study, colored_patches, tmp_path):
    table = gates([study[3], Finetuning(study[0].model, {})], colored_patches)
    assert table["finetuning"].unique().tolist() == [
        "fold 1, seed 1",
        "finetuned, held-out groups unknown",
    ]
    assert len(table) == 6 and table.iloc[0]["value"] == 0.8


def test_another_pixel_size_warns(tiny_model, colored_patches):
    finetuning = Finetuning(tiny_model, {"microns_per_pixel": 0.5})
    near = replace(colored_patches, microns_per_pixel=0.52)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unseen_by_any([finetuning], near)
        unseen_by_any([finetuning], colored_patches)
    with pytest.warns(UserWarning, match="0.25 micrometres per pixel.*finetuned on.* 0.5"):
        unseen_by_any([finetuning], replace(near, microns_per_pixel=0.25))
