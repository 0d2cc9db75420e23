import numpy as np

from utils.heatmaps import explain, explain_by_outcome


def test_classes_and_outcomes_are_drawn_and_explained_apart(tiny_classifier, colored_patches):
    probability = np.where(colored_patches.labels == 1, 0.9, 0.1)
    probability[[1, 9, 25]] = 0.7  # normal, but called tumor
    explained = explain_by_outcome(
        tiny_classifier, colored_patches, probability, 4, seed=2, layer="early"
    )
    assert [(e.class_name, e.outcome, e.count) for e in explained] == [
        ("normal", "correct", 29),
        ("normal", "wrong", 3),
        ("tumor", "correct", 32),
    ]
    assert explained[1].index.tolist() == [1, 9, 25]
    for part in explained:
        chosen = (probability >= 0.5) == (colored_patches.labels == 1)
        chosen = np.flatnonzero(
            (chosen == (part.outcome == "correct"))
            & (colored_patches.labels == ["normal", "tumor"].index(part.class_name))
        )
        drawn = chosen[colored_patches.select(chosen).sample_indices(4, seed=2)]
        np.testing.assert_array_equal(part.index, drawn)
        np.testing.assert_array_equal(part.patches.images, colored_patches.images[drawn])
        np.testing.assert_array_equal(part.probability, probability[drawn])
        expected = explain(
            tiny_classifier, part.patches.images, target=part.class_name, layer="early"
        )
        assert list(part.maps) == list(expected) == ["gradcam", "gradcam++"]
        for method, maps in expected.items():
            np.testing.assert_array_equal(part.maps[method], maps)
