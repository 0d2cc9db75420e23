from dataclasses import replace

import numpy as np
import pytest

from utils.networks import layer_features, positions
from utils.optvis.exemplars import channel_scores, exemplars

CHANNELS = [3, 0]


def test_activation_is_the_mean_and_has_its_place(tiny_model, images):
    scores, best = channel_scores(tiny_model, images, "early", CHANNELS)
    np.testing.assert_allclose(
        scores, layer_features(tiny_model, images)["early"][:, CHANNELS], rtol=1e-5
    )
    maps = tiny_model.submodel(["early"])(tiny_model.preprocess(images))["early"].numpy()
    for row in range(len(images)):
        for k, channel in enumerate(CHANNELS):
            y, x = best[row, k]
            assert maps[row, y, x, channel] == maps[row, ..., channel].max()


def test_relevance_against_finite_differences(tiny_classifier, tail, images):
    """Relevance is the derivative of the log-odds when the channel grows by a factor."""
    scores, _ = channel_scores(tiny_classifier, images, "early", CHANNELS, "relevance")
    maps = tiny_classifier.submodel(["early"])(tiny_classifier.preprocess(images))["early"].numpy()
    for k, channel in enumerate(CHANNELS):
        ends = []
        for factor in (1.001, 0.999):
            changed = maps.copy()
            changed[..., channel] *= factor
            ends.append(np.ravel(tail(changed)))
        np.testing.assert_allclose(scores[:, k], (ends[0] - ends[1]) / 0.002, rtol=0.05, atol=2e-3)


def test_exemplars_are_the_highest_and_cut_to_what_is_seen(tiny_model, colored_patches):
    patches = replace(colored_patches, positions=np.full((len(colored_patches), 2), -1))
    first, _ = exemplars(tiny_model, patches, "early", CHANNELS, count=5)
    scores, best = channel_scores(tiny_model, patches.images, "early", CHANNELS)
    assert first.channel == 3
    np.testing.assert_array_equal(first.patches, np.argsort(-scores[:, 0], kind="stable")[:5])
    np.testing.assert_array_equal(first.scores, np.sort(scores[:, 0])[::-1][:5])
    axis, _ = positions(tiny_model, "early", patches.images.shape[1:3])
    assert axis.field < patches.images.shape[1]
    for row, box, image in zip(first.patches, first.boxes, first.images, strict=True):
        top, left, bottom, right = box
        assert (bottom - top, right - left) == (axis.field, axis.field)
        np.testing.assert_array_equal(image, patches.images[row][top:bottom, left:right])
        centre = axis.first + axis.step * best[row, 0]
        inside = (centre >= axis.field / 2) & (centre <= patches.images.shape[1] - axis.field / 2)
        middle = np.array([top + bottom - 1, left + right - 1]) / 2
        assert (np.abs(middle - centre) <= 0.5)[inside].all()


def test_what_lies_on_one_place_comes_once(tiny_model, colored_patches):
    count = len(colored_patches)
    same = replace(
        colored_patches,
        positions=np.zeros((count, 2), int),
        sources=np.repeat("slide", count),
        images=np.repeat(colored_patches.images[:1], count, axis=0),
    )
    (only,) = exemplars(tiny_model, same, "early", [1], count=4)
    assert len(only.patches) == 1
    apart = replace(
        same, positions=np.stack([np.arange(count) * 100, np.zeros(count, int)], axis=1)
    )
    assert len(exemplars(tiny_model, apart, "early", [1], count=4)[0].patches) == 4
    others = replace(same, sources=np.arange(count).astype(str))
    assert len(exemplars(tiny_model, others, "early", [1], count=4)[0].patches) == 4


def test_what_does_not_exist_is_named(tiny_model, images):
    with pytest.raises(ValueError, match=r"early has 4 channels, from 0; \[4\]"):
        channel_scores(tiny_model, images, "early", [0, 4])
    with pytest.raises(ValueError, match="by is 'size'; expected activation or relevance"):
        channel_scores(tiny_model, images, "early", [0], "size")
