import numpy as np
import pytest
from scipy.spatial.distance import cdist

from utils.concepts.nuclei import (
    NUCLEI,
    chromatin_measures,
    crowding_measures,
    nuclei_measures,
    pleomorphism_measures,
)
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet


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


@pytest.fixture
def squares():
    """Four square nuclei of 4, 6, 8 and 10 pixels, on a plain patch."""
    image, nuclei = np.full((60, 60, 3), 240, np.uint8), np.zeros((60, 60), np.int32)
    corners = [(5, 5, 4), (5, 30, 6), (30, 5, 8), (40, 40, 10)]
    for number, (row, column, side) in enumerate(corners, 1):
        nuclei[row : row + side, column : column + side] = number
    image[nuclei > 0] = (90, 60, 150)
    name = np.array(["a"])
    arrays = image[None], np.ones(1, int), name, name, np.zeros((1, 2), int)
    return PatchSet(*arrays, masks=np.uint8(nuclei > 0)[None], nuclei=nuclei[None])


def test_pleomorphism_by_hand(squares):
    row = pleomorphism_measures(squares).iloc[0]
    areas = np.array([16, 36, 64, 100])
    assert row["variation of area"] == pytest.approx(areas.std(ddof=1) / areas.mean())
    assert row["variation of shape"] == pytest.approx(0) and row["solidity"] == 1
    assert row["variation of stain"] == pytest.approx(0, abs=1e-6)
    squares.nuclei[0, 30:] = 0  # two are left
    assert pleomorphism_measures(squares).isna().all(axis=None)


def test_crowding_by_hand(squares):
    centres = np.array([[6.5, 6.5], [7.5, 32.5], [33.5, 8.5], [44.5, 44.5]])
    distance = cdist(centres, centres) + np.diag([np.inf] * 4)
    row = crowding_measures(squares).iloc[0]
    assert row["nearest distance"] == pytest.approx(distance.min(axis=1).mean())
    # The quadrangle's four sides, and the shorter diagonal.
    edges = [distance[0, 1], distance[0, 2], distance[1, 3], distance[2, 3], distance[1, 2]]
    assert row["edge length"] == pytest.approx(np.mean(edges))
    assert row["variation of edges"] == pytest.approx(np.std(edges) / np.mean(edges))
    squares.nuclei[0, 7:] = np.where(squares.nuclei[0, 7:] > 2, 0, squares.nuclei[0, 7:])
    assert crowding_measures(squares).isna().all(axis=None)


def test_chromatin_looks_inside_nuclei_only(squares):
    plain = chromatin_measures(squares).iloc[0]
    assert plain["contrast"] == 0 and plain["homogeneity"] == 1
    noise = np.random.default_rng(0).integers(0, 256, squares.images.shape, dtype=np.uint8)
    outside = squares.nuclei == 0
    around = squares.images.copy()
    around[outside] = noise[outside]
    squares.images[:] = around
    np.testing.assert_allclose(chromatin_measures(squares).iloc[0], plain)
    squares.images[:] = noise
    assert chromatin_measures(squares)["contrast"][0] > 20
