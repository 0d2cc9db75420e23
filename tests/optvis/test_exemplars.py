from dataclasses import replace

import numpy as np
import pytest

from utils.networks import layer_features, positions
from utils.optvis.exemplars import ChannelScores, channel_scores, exemplars, most_relevant

CHANNELS = [3, 0]


def test_activation_is_the_mean_and_has_its_place(tiny_classifier, images):
    scores = channel_scores(tiny_classifier, images, "early")["activation"]
    np.testing.assert_allclose(
        scores.values, layer_features(tiny_classifier, images)["early"], rtol=1e-5
    )
    inputs = tiny_classifier.preprocess(images)
    maps = tiny_classifier.submodel(["early"])(inputs)["early"].numpy()
    for row, channel in np.ndindex(scores.values.shape):
        y, x = scores.best[row, channel]
        assert maps[row, y, x, channel] == maps[row, ..., channel].max()


def test_relevance_against_finite_differences(tiny_classifier, tail, images):
    """Relevance is the derivative of the log-odds when the channel grows by a factor."""
    scores = channel_scores(tiny_classifier, images, "early")["relevance"]
    maps = tiny_classifier.submodel(["early"])(tiny_classifier.preprocess(images))["early"].numpy()
    for channel in range(maps.shape[-1]):
        ends = []
        for factor in (1.001, 0.999):
            changed = maps.copy()
            changed[..., channel] *= factor
            ends.append(np.ravel(tail(changed)))
        expected = (ends[0] - ends[1]) / 0.002
        np.testing.assert_allclose(scores.values[:, channel], expected, rtol=0.05, atol=2e-3)


def test_most_relevant_for_tumor():
    values = np.float32([[0, 5, 1, 2], [0, 3, 3, 0], [9, 0, 0, 0]])
    relevance = ChannelScores("early", values, np.zeros((3, 4, 2), int))
    assert most_relevant(relevance, np.array([True, True, False]), 3) == [1, 2, 3]
    with pytest.raises(ValueError, match="no patch is of tumor"):
        most_relevant(relevance, np.zeros(3, bool), 3)


def test_exemplars_are_the_highest_and_cut_to_what_is_seen(tiny_classifier, colored_patches):
    patches = replace(colored_patches, positions=np.full((len(colored_patches), 2), -1))
    scores = channel_scores(tiny_classifier, patches.images, "early")["activation"]
    first, _ = exemplars(tiny_classifier, patches, CHANNELS, scores, count=5)
    values, best = scores.values[:, 3], scores.best[:, 3]
    assert first.channel == 3
    np.testing.assert_array_equal(first.patches, np.argsort(-values, kind="stable")[:5])
    np.testing.assert_array_equal(first.scores, np.sort(values)[::-1][:5])
    axis, _ = positions(tiny_classifier, "early", patches.images.shape[1:3])
    assert axis.field < patches.images.shape[1]
    for row, box, image in zip(first.patches, first.boxes, first.images, strict=True):
        top, left, bottom, right = box
        assert (bottom - top, right - left) == (axis.field, axis.field)
        np.testing.assert_array_equal(image, patches.images[row][top:bottom, left:right])
        centre = axis.first + axis.step * best[row]
        inside = (centre >= axis.field / 2) & (centre <= patches.images.shape[1] - axis.field / 2)
        middle = np.array([top + bottom - 1, left + right - 1]) / 2
        assert (np.abs(middle - centre) <= 0.5)[inside].all()


def test_what_lies_on_one_place_comes_once(tiny_classifier, colored_patches):
    count = len(colored_patches)
    same = replace(
        colored_patches,
        positions=np.zeros((count, 2), int),
        sources=np.repeat("slide", count),
        images=np.repeat(colored_patches.images[:1], count, axis=0),
    )
    scores = channel_scores(tiny_classifier, same.images, "early")["activation"]
    (only,) = exemplars(tiny_classifier, same, [1], scores, count=4)
    assert len(only.patches) == 1
    apart = replace(
        same, positions=np.stack([np.arange(count) * 100, np.zeros(count, int)], axis=1)
    )
    assert len(exemplars(tiny_classifier, apart, [1], scores, count=4)[0].patches) == 4
    others = replace(same, sources=np.arange(count).astype(str))
    assert len(exemplars(tiny_classifier, others, [1], scores, count=4)[0].patches) == 4


def test_what_does_not_exist_is_named(tiny_classifier, colored_patches):
    scores = channel_scores(tiny_classifier, colored_patches.images, "early")["activation"]
    with pytest.raises(ValueError, match=r"early has 4 channels, from 0; \[4\]"):
        exemplars(tiny_classifier, colored_patches, [0, 4], scores)
    with pytest.raises(ValueError, match="for 2 patches"):
        exemplars(tiny_classifier, colored_patches.select([0, 1]), [0], scores)
