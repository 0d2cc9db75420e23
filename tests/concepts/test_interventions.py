from dataclasses import fields, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from skimage.color import hed2rgb, hed_from_rgb

from utils.concepts import MEASURES, ConceptMeasures, analyse, group_folds, nuclei_measures
from utils.concepts.interventions import (
    INTERVENTIONS,
    Intervention,
    blur,
    compare_with_vectors,
    enlarge_nuclei,
    intervention_effects,
    scale_haematoxylin,
    scored_patches,
)
from utils.concepts.regression import Regression
from utils.networks import Finetuning, layer_features_and_gradients
from utils.patches import PatchSet, to_uint8

TISSUE, NUCLEUS = (230, 180, 210), (90, 60, 150)


def _patches(images, groups=None, nuclei=None, masks=None):
    images = np.asarray(images)
    groups = np.array(["a"] * len(images) if groups is None else groups)
    labels = np.arange(len(images)) % 2
    return PatchSet(images, labels, groups, groups, np.full((len(images), 2), -1), masks, nuclei)


def _squares(corners, size=48, color=NUCLEUS, type_=3):
    """One patch of square nuclei, given as row, column and side, numbered from 5."""
    image, nuclei = np.tile(np.uint8(TISSUE), (size, size, 1)), np.zeros((size, size), np.int32)
    for number, (row, column, side) in enumerate(corners, 5):
        nuclei[row : row + side, column : column + side] = number
    image[nuclei > 0] = color
    return _patches([image], nuclei=nuclei[None], masks=np.uint8(type_ * (nuclei > 0))[None])


def test_haematoxylin_of_a_pure_stain_is_multiplied():
    density = np.linspace(0, 0.12, 64).reshape(8, 8, 1) * [1, 0, 0]
    patches = _patches([to_uint8(hed2rgb(density))])
    for factor in (2, 1.25, 0.8):
        expected = to_uint8(hed2rgb(factor * density)).astype(int)
        scaled = scale_haematoxylin(patches, factor).images[0]
        assert np.abs(scaled - expected).max() <= 1
    assert np.abs(patches.images[0] - expected).max() > 5


def test_eosin_and_residual_stay(images):
    np.testing.assert_array_equal(scale_haematoxylin(_patches(images), 1).images, images)
    mild = 40 + images // 2  # so that rounding hardly matters
    before, after = (
        np.log(x / 255) / np.log(1e-6) @ hed_from_rgb
        for x in (mild, scale_haematoxylin(_patches(mild), 1.25).images)
    )
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=3e-3)
    # Below no stain at all, there is nothing to multiply.
    density = before[..., 0]
    expected = np.where(density > 0, 1.25 * density, density)
    np.testing.assert_allclose(after[..., 0], expected, atol=3e-3)
    assert (density < -0.01).any() and (density > 0.02).any()


def test_blur_against_scipy(images):
    blurred = blur(_patches(images), 1.5).images
    for image, result in zip(images, blurred, strict=True):
        options = {"sigma": (1.5, 1.5, 0), "mode": "mirror", "radius": (5, 5, 0)}
        expected = gaussian_filter(image.astype(float), **options)
        np.testing.assert_allclose(result, expected, atol=1.5)
    assert blurred.std() < images.std() / 2


def test_nuclei_are_enlarged_with_their_pixels():
    patches = _squares([(10, 10, 8), (24, 26, 16)])
    patches.images[0, 10:18, 14:18] = (60, 60, 60)  # the right half of the small one
    patches.images[0, 24:40, 30:38] = (60, 60, 60)  # a stripe in the middle of the large one
    apart = np.ones((48, 48), bool)  # further than the rim in which a nucleus fades
    apart[5:23, 5:23] = apart[18:46, 20:48] = False
    noise = np.random.default_rng(0).integers(100, 256, (48, 48, 3))
    patches.images[0][apart] = noise[apart]
    after = enlarge_nuclei(patches, 1.25)
    expected = _squares([(9, 9, 10), (22, 24, 20)])
    np.testing.assert_array_equal(after.nuclei, expected.nuclei)
    np.testing.assert_array_equal(after.masks, expected.masks)
    areas = (nuclei_measures(x)["area"][0] for x in (after, patches))
    assert next(areas) / next(areas) == pytest.approx(1.25**2)
    image = after.images[0].astype(int)
    assert np.abs(image[11:16, 10:12] - NUCLEUS).max() <= 15
    assert np.abs(image[11:16, 16:18] - 60).max() <= 15
    assert np.abs(image[26:38, 29:39] - 60).max() <= 15  # ten pixels instead of eight
    assert np.abs(image[26:38, [26, 27, 40, 41]] - NUCLEUS).max() <= 15
    np.testing.assert_array_equal(after.images[0][apart], patches.images[0][apart])
    # No pixel is missing: all are between tissue and nuclei, but for what sharpening adds.
    assert (image >= np.subtract(60, 30)).all()


def test_enlarging_by_one_changes_nothing(images):
    nuclei = np.zeros(images.shape[:3], np.int32)
    nuclei[:4, 2:7, 3:9], nuclei[:4, 7:12, 5:14], nuclei[:4, :3, 12:] = 3, 8, 9
    patches = _patches(images, nuclei=nuclei, masks=np.uint8(nuclei % 4))
    after = enlarge_nuclei(patches, 1)
    for name in ("images", "masks", "nuclei"):
        np.testing.assert_array_equal(getattr(after, name), getattr(patches, name))
    larger = enlarge_nuclei(patches, 1.5)
    assert (larger.images[:4] != images[:4]).any()
    np.testing.assert_array_equal(larger.images[4], images[4])  # has no nucleus
    with pytest.raises(ValueError, match="at least 1"):
        enlarge_nuclei(patches, 0.9)


def test_where_nuclei_collide_the_nearer_one_wins():
    patches = _squares([(14, 4, 16), (14, 23, 16)])  # three pixels apart; each gains two
    patches.masks[0, :, 22:] *= 0
    patches.masks[0][patches.nuclei[0] == 6] = 1
    after = enlarge_nuclei(patches, 1.25)
    assert after.nuclei[0, 20, 19:24].tolist() == [5, 5, 5, 6, 6]
    assert after.masks[0, 20, 19:24].tolist() == [3, 3, 3, 1, 1]
    swapped = replace(patches, nuclei=np.select([patches.nuclei == 5, patches.nuclei == 6], [6, 5]))
    assert enlarge_nuclei(swapped, 1.25).nuclei[0, 20, 19:24].tolist() == [6, 6, 5, 5, 5]
    touching = _squares([(14, 4, 16), (14, 20, 5), (20, 20, 16)])
    after = enlarge_nuclei(touching, 1.25)
    inside = touching.nuclei > 0
    np.testing.assert_array_equal(after.nuclei[inside], touching.nuclei[inside])
    assert (after.nuclei > 0).sum() > 1.2 * inside.sum()
    ring = _squares([(12, 12, 24), (20, 20, 8)])
    ring.images[0] = np.random.default_rng(0).integers(0, 256, ring.images[0].shape)
    after = enlarge_nuclei(ring, 1.25)
    inside = ring.nuclei > 0
    np.testing.assert_array_equal(after.nuclei[inside], ring.nuclei[inside])
    assert after.nuclei[0, 10, 24] == 5 and after.nuclei[0, 8, 24] == 0
    # The ring moves outwards, and keeps the pixels behind it.
    np.testing.assert_array_equal(after.images[0, 20:28, 19], ring.images[0, 20:28, 19])


def test_whole_nuclei_stay_whole_and_cut_ones_cut():
    patches = _squares([(1, 1, 16), (30, 40, 8)])
    after = enlarge_nuclei(patches, 1.25).nuclei[0]
    rows, columns = np.nonzero(after == 5)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (1, 1, 18, 18)
    rows, columns = np.nonzero(after == 6)
    assert columns.max() == 47 and (rows.min(), rows.max()) == (29, 38)


def test_interventions_change_their_concept_as_they_say(sample):
    tumor = sample.select(np.flatnonzero(sample.in_tumor_images)[::25])
    expected = {
        "more haematoxylin": (1.245, 1.255),
        "less haematoxylin": (0.795, 0.805),
        "blurred": (0, 0.9),
        "larger nuclei": (1.4, 1.6),
    }
    assert set(expected) == set(INTERVENTIONS)
    for name, one in INTERVENTIONS.items():
        before, after = (
            MEASURES[one.measures].measure(x)[one.concept] for x in (tumor, one.change(tumor))
        )
        ratio = (after / before).dropna()
        assert len(ratio) > 8
        low, high = expected[name]
        assert ratio.between(low, high).all(), (name, ratio)


@pytest.fixture
def red_and_green(tiny_classifier, monkeypatch):
    """A network linear in red and green, a measure of red, and patches where green is its half."""
    stem, deep = np.zeros((3, 3, 3, 4), np.float32), np.zeros((3, 3, 4, 6), np.float32)
    stem[1, 1, 0, 0], stem[1, 1, 1, 1] = 1, 1
    deep[1, 1, 0, 0], deep[1, 1, 1, 1] = 1, 1
    # Biases keep ReLU from cutting.
    tiny_classifier.network.get_layer("stem").set_weights([stem, np.full(4, 1.5)])
    tiny_classifier.network.get_layer("deep").set_weights([deep, np.zeros(6)])
    head = np.float32([[3], [-1], [0], [0], [0], [0]])
    tiny_classifier.network.get_layer("tumor").set_weights([head, np.zeros(1)])

    def red(patches):
        return pd.DataFrame({"red": patches.images[..., 0].mean(axis=(1, 2))})

    monkeypatch.setitem(MEASURES, "colour", ConceptMeasures("Colour", red))
    images = np.zeros((24, 16, 16, 3), np.uint8)
    images[..., 0] = np.tile([40, 80, 120, 160], 6)[:, None, None]
    images[..., 1] = images[..., 0] // 2
    return tiny_classifier, _patches(images, np.repeat(list("abcdef"), 4))


def _brighter(patches, red, green):
    return replace(patches, images=np.uint8(patches.images.astype(int) + [red, green, 0]))


def _color(red, green):
    return Intervention("", "red", "colour", partial(_brighter, red=red, green=green))


def test_a_linear_network_moves_as_the_vector_says(red_and_green):
    model, patches = red_and_green
    colors = {"both": _color(20, 10), "red only": _color(20, 0), "darker": _color(-20, -10)}
    finetuning = Finetuning(model, {})
    effects = intervention_effects([finetuning], patches, interventions=colors)
    assert effects["patch"].tolist() == [*range(24)] * 3
    np.testing.assert_array_equal(effects["group"], np.tile(patches.groups, 3))
    features, gradients = layer_features_and_gradients(model, patches.images)
    measures = MEASURES["colour"].measure(patches)
    splits = group_folds(np.repeat(np.arange(6), 4), 3)
    arguments = {"gradients": {"finetuned": gradients}, "splits": splits, "permutations": 2}
    analysis = analyse({"finetuned": features}, measures, patches.groups, **arguments)
    indices = scored_patches(analysis.known, splits)
    table = compare_with_vectors(effects, analysis.regressions, measures, indices)
    assert table["intervention"].unique().tolist() == list(colors)
    assert table["layer"].tolist() == ["early", "late"] * 3
    table = table.set_index(["intervention", "layer"])
    # The logit is 3 red - green, in units of 127.5, and green follows red by half of it.
    np.testing.assert_allclose(table["predicted"]["both"], 2.5 * 20 / 127.5, rtol=1e-4)
    np.testing.assert_allclose(table["actual"]["both"], 2.5 * 20 / 127.5, rtol=1e-4)
    np.testing.assert_allclose(table["predicted"]["darker"], -2.5 * 20 / 127.5, rtol=1e-4)
    np.testing.assert_allclose(table["actual"]["darker"], -2.5 * 20 / 127.5, rtol=1e-4)
    # Where green does not follow, the vector is wrong.
    np.testing.assert_allclose(table["predicted"]["red only"], 2.5 * 20 / 127.5, rtol=1e-4)
    np.testing.assert_allclose(table["actual"]["red only"], 3 * 20 / 127.5, rtol=1e-4)
    assert (table["n"] == 24).all() and (table["groups"] == 6).all()


def test_each_network_is_asked_about_what_it_has_not_seen(red_and_green, monkeypatch):
    model, patches = red_and_green

    def red_of_some(patches):  # none where it is 80 before or 180 after
        red = patches.images[..., 0].mean(axis=(1, 2))
        return pd.DataFrame({"red": np.where(np.isin(red, [80, 180]), np.nan, red)})

    monkeypatch.setitem(MEASURES, "colour", ConceptMeasures("Colour", red_of_some))
    double = model.copy()
    head = double.network.get_layer("tumor")
    head.set_weights([2 * head.get_weights()[0], np.zeros(1)])
    finetunings = [  # the last two are seeds of one fold
        Finetuning(model, {"trained_on": list("abc")}),
        Finetuning(model, {"trained_on": list("def")}),
        Finetuning(double, {"trained_on": list("def")}),
    ]
    calls = []

    def once(function, *arguments, **options):
        calls.append(getattr(function, "__name__", ""))
        return function(*arguments, **options)

    chosen = np.arange(2, 24)
    colors = {"red": _color(20, 0), "none": _color(0, 0)}
    options = {"chosen": chosen, "interventions": colors, "once": once}
    table = intervention_effects(finetunings, patches, **options)
    assert calls.count("log_odds") == 3 * (1 + len(colors))
    red = patches.images[:, 0, 0, 0]
    measured = {"red": np.isin(red, [40, 120]), "none": np.isin(red, [40, 120, 160])}
    for name, rows in table.groupby("intervention"):
        expected = chosen[measured[name][chosen]]
        assert sorted(rows["patch"]) == expected.tolist()
        np.testing.assert_array_equal(rows["group"], patches.groups[rows["patch"]])
    rows = table[table["intervention"] == "red"]
    assert (rows["concept_change"] == 20).all()
    one = 3 * 20 / 127.5
    expected = np.where(rows["group"] < "d", 1.5 * one, one)
    np.testing.assert_allclose(rows["logit_change"], expected, rtol=1e-4)
    assert (table[table["intervention"] == "none"][["concept_change", "logit_change"]] == 0).all(
        axis=None
    )
    with pytest.raises(ValueError, match="choose others"):
        intervention_effects(finetunings[:1], patches, interventions=colors, chosen=np.arange(4))


def test_options_reach_the_measures(images, tiny_classifier):
    chosen = {"blurred": INTERVENTIONS["blurred"]}
    changes = []
    for distance in (1, 4):
        options = {"texture": {"distances": [distance]}}
        table = intervention_effects(
            [Finetuning(tiny_classifier, {})],
            _patches(images),
            interventions=chosen,
            options=options,
        )
        measure = partial(MEASURES["texture"].measure, distances=[distance])
        before, after = (
            measure(x)["contrast"] for x in (_patches(images), blur(_patches(images), 1.5))
        )
        np.testing.assert_allclose(table["concept_change"], after - before)
        changes.append(table["concept_change"].mean())
    assert changes[0] < 0 and changes[0] != changes[1]


def test_indices_are_those_of_the_rows_of_regressions(planted):
    features, measures, _ = planted
    features = {"layer": features["layer"][:40]}
    measures = measures[:40].copy()
    measures.loc[[3, 11, 30], "null"] = np.nan
    names = np.array([f"patch {i}" for i in range(40)])  # each its own group: rows have names
    order = np.random.default_rng(0).permutation(40)
    splits = [(order[10:], order[:10]), (np.r_[order[:10], order[25:]], order[10:25])]
    for chosen in (splits, None):
        options = {"gradients": {"finetuned": features}, "splits": chosen, "folds": 4}
        analysis = analyse({"finetuned": features}, measures, names, permutations=1, **options)
        indices = scored_patches(analysis.known, chosen)
        regression = analysis.regressions["finetuned"]["layer"]
        np.testing.assert_array_equal(regression.groups, names[indices])
        assert len(indices) == (25 - np.isin([3, 11, 30], order[:25]).sum() if chosen else 37)


def _regression(effect, groups):
    """All that is compared; the rest does not matter."""
    known = {"concepts": ("contrast", "other"), "groups": groups, "effect": np.array(effect, float)}
    return Regression(**{field.name: None for field in fields(Regression)} | known)


@pytest.fixture
def by_hand():
    """Effects on patches 9, 2, 4, 7 and 1, of which 2, 4, 7 and 9 were regressed, and 5 too."""
    groups = np.array(list("aabbcccddd"))
    patches = [9, 2, 4, 7, 1]
    columns = {
        "intervention": "blurred",
        "measures": "texture",
        "concept": "contrast",
        "patch": patches,
        "group": groups[patches],
        "concept_change": [-2.0, -4, -6, -8, 50],
        "logit_change": [0.1, 0.5, 0.2, 0.9, 50],
    }
    indices = np.array([2, 4, 5, 7, 9])
    effect = np.column_stack([[1, 2, 100, 3, 4], np.full(5, 1000)])
    one = {name: _regression(k * effect, groups[indices]) for name, k in (("a", 1), ("b", -2))}
    two = {name: _regression(3 * one[name].effect, groups[indices]) for name in one}
    ignored = {name: _regression(99 * one[name].effect, groups[indices]) for name in one}
    regressions = {"pretrained": ignored, "finetuned": one, "finetuned 2": two}
    measures = pd.DataFrame({"contrast": [0.0, 4, 99], "other": [1.0, 2, np.nan]})  # deviation 2
    return pd.DataFrame(columns), regressions, measures, indices


def test_predictions_by_hand(by_hand):
    table = compare_with_vectors(*by_hand).set_index("layer")
    assert list(table.index) == ["a", "b"] and (table["n"] == 4).all()
    assert (table["groups"] == 3).all() and (table["concept"] == "contrast").all()
    # Twice the effects of the first seed, times changes in deviations, of patches 2, 4, 7 and 9.
    predicted = 2 * np.array([1, 2, 3, 4]) * np.array([-4, -6, -8, -2]) / 2
    actual = np.array([0.5, 0.2, 0.9, 0.1])
    of_groups = [[values[0], values[1], values[2:].mean()] for values in (predicted, actual)]
    assert table["predicted"]["a"] == pytest.approx(np.mean(of_groups[0]))
    assert table["predicted"]["b"] == pytest.approx(-2 * np.mean(of_groups[0]))
    np.testing.assert_allclose(table["actual"], np.mean(of_groups[1]))
    reach = 4.302653 * np.std(of_groups, axis=1, ddof=1) / np.sqrt(3)  # of Student's t, 2 degrees
    for side, width in zip(("predicted", "actual"), reach, strict=True):
        row = table.loc["a"]
        assert row[f"{side}_high"] - row[side] == pytest.approx(width, rel=1e-5)
        assert row[side] - row[f"{side}_low"] == pytest.approx(width, rel=1e-5)
    rank = spearmanr(predicted, actual).statistic
    assert table["spearman"].tolist() == pytest.approx([rank, -rank]) and abs(rank) > 0.3


def test_rank_correlation_of_constants_is_unknown(by_hand):
    effects, *others = by_hand
    table = compare_with_vectors(effects.assign(logit_change=1.0), *others)
    assert table["spearman"].isna().all() and (table["actual"] == 1).all()


def test_what_does_not_belong_together_is_refused(by_hand):
    effects, regressions, measures, indices = by_hand
    with pytest.raises(ValueError, match=r"on \['area'\] .* of \['contrast', 'other'\]"):
        compare_with_vectors(effects.assign(concept="area"), regressions, measures, indices)
    both = pd.concat([effects, effects.assign(measures="chromatin")])
    with pytest.raises(ValueError, match="one set of measures"):
        compare_with_vectors(both, regressions, measures, indices)
    with pytest.raises(ValueError, match="no patch has both"):
        compare_with_vectors(effects.assign(patch=3), regressions, measures, indices)
    for wrong in (indices[:4], np.array([2, 7, 5, 4, 9])):
        with pytest.raises(ValueError, match="scored_patches"):
            compare_with_vectors(effects, regressions, measures, wrong)
    without = _regression(np.full((5, 2), np.nan), regressions["finetuned"]["a"].groups)
    with pytest.raises(ValueError, match="without gradients"):
        compare_with_vectors(effects, {"finetuned": {"a": without}}, measures, indices)
