import numpy as np
import pytest

from utils.concepts import MEASURES, texture_measures
from utils.concepts.measures import NUCLEI, TEXTURE, nuclei_measures
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet


def test_texture_by_hand():
    stripes = np.zeros((1, 6, 6, 3), np.uint8)
    stripes[:, :, 1::2] = 10  # grey levels 0 and 10 in turn
    near = texture_measures(stripes, distances=[1]).iloc[0]
    far = texture_measures(stripes, distances=[2]).iloc[0]
    # One pixel apart: (0, 10) and (10, 0), half each. Two apart: (0, 0) and (10, 10), half each.
    expected = {"contrast": 100, "homogeneity": 1 / 101, "correlation": -1}
    expected |= {"log energy": np.log(0.5) / 2}  # energy is the root of the sum of squares
    np.testing.assert_allclose(near[list(expected)], list(expected.values()), atol=1e-9)
    np.testing.assert_allclose(far[list(TEXTURE)], [0, 1, np.log(0.5) / 2, 1], atol=1e-9)
    with pytest.raises(ValueError, match="float64"):
        texture_measures(stripes / 255)


def test_texture_is_the_mean_over_distances_and_angles():
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    angles = (0.0, np.pi / 2)
    both = texture_measures(images, distances=[1, 3], angles=angles)
    single = [
        texture_measures(images, distances=[d], angles=[angle]) for d in (1, 3) for angle in angles
    ]
    for table in (both, *single):  # the mean is taken before the logarithm
        table["log energy"] = np.exp(table["log energy"])
    np.testing.assert_allclose(both, np.mean(single, axis=0))
    with pytest.raises(ValueError, match=r"distances are \[20\]; expected 1 to 19"):
        texture_measures(images, distances=[20])


def test_nuclei_by_hand():
    images = np.full((4, 30, 30, 3), 240, np.uint8)
    masks, nuclei = np.zeros((4, 30, 30), np.uint8), np.zeros((4, 30, 30), np.int32)
    for patch in (0, 1):
        masks[patch, 5:9, 5:9], nuclei[patch, 5:9, 5:9] = NEOPLASTIC, 7  # 16 square pixels, round
        masks[patch, 15:17, 4:20], nuclei[patch, 15:17, 4:20] = 1, 9  # 32 square pixels, long
    masks[1, 0:4, 20:24], nuclei[1, 0:4, 20:24] = 2, 11  # cut by the border
    images[0][masks[0] > 0] = (70, 50, 130)
    masks[2] = UNANNOTATED
    patches = PatchSet(images, np.ones(4), *(np.arange(4),) * 2, np.zeros((4, 2)), masks, nuclei)
    table = nuclei_measures(patches)
    assert list(table) == list(NUCLEI)
    assert table["number"].tolist()[:2] == [2, 3]
    np.testing.assert_allclose(table["area"][:2], (16 + 32) / 2)
    long = np.sqrt(1 - (2**2 - 1 + 1) / (16**2 - 1 + 1))  # with the 1/12 of a pixel's own extent
    np.testing.assert_allclose(table["eccentricity"][:2], long / 2, atol=1e-2)
    np.testing.assert_allclose(table["neoplastic share"][:2], [16 / 48, 16 / 64])
    assert table["haematoxylin"][0] > table["haematoxylin"][1] + 0.05
    assert table.loc[2:].isna().all(axis=None)
    without = PatchSet(images, np.ones(4), *(np.arange(4),) * 2, np.zeros((4, 2)))
    assert nuclei_measures(without).isna().all(axis=None) and len(nuclei_measures(without)) == 4


def test_registered_measures_take_patches(colored_patches):
    found = MEASURES["texture"].measure(colored_patches, distances=[2])
    expected = texture_measures(colored_patches.images, distances=[2])
    assert found.equals(expected) and MEASURES["nuclei"].measure is nuclei_measures


def test_nuclei_of_the_sample(sample):
    sample = sample.select(np.arange(0, len(sample), 3))
    table = nuclei_measures(sample)
    stroma = table[sample.sources != "hgsc_nest"]
    assert (stroma["neoplastic share"] == 0).all() and (stroma["number"] >= 1).all()
    known = table.dropna()
    assert len(known) > 100 and (known["number"] >= 1).all()
    assert (
        known["neoplastic share"].between(0, 1).all() and known["eccentricity"].between(0, 1).all()
    )
    # By definition of the classes.
    labels = sample.labels[table.notna().all(axis=1)]
    assert known["neoplastic share"][labels == 0].max() == 0
    assert known["neoplastic share"][labels == 1].min() >= 0.5


def test_patches_without_any_nucleus_have_no_measures():
    """As those of a region without annotation."""
    images = np.full((2, 9, 9, 3), 200, np.uint8)
    masks, names = np.full((2, 9, 9), UNANNOTATED, np.uint8), np.array(["a", "b"])
    nuclei = np.zeros((2, 9, 9), np.int32)
    patches = PatchSet(images, np.zeros(2), names, names, np.zeros((2, 2)), masks, nuclei)
    measures = nuclei_measures(patches)
    assert list(measures) == list(NUCLEI) and len(measures) == 2
    assert measures.isna().all(axis=None)
