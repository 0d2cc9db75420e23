import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import shapely

from tests.conftest import MARGIN
from tests.slide_files import MICRONS, geojson, square, write_slide
from utils.cluster import ChunksFailed
from utils.patches import Cut, load_patches, load_slides
from utils.patches.annotations import Annotations
from utils.patches.cutting import classify, share_of
from utils.patches.patchset import check_apart

pytestmark = pytest.mark.filterwarnings("ignore:.*one patient only")


def _slide_of(group):
    return group.split("/")[0]


def test_patients_are_groups(slides, tmp_path):
    """Two patients with tumour, so that patients are the groups."""
    for index, path in enumerate(2 * [slides / "patient_001_node_0.tif"]):
        shutil.copy(path, tmp_path / f"patient_00{index}_node_0.tif")
        shutil.copy(path.with_suffix(".xml"), tmp_path / f"patient_00{index}_node_0.xml")
    assert set(load_slides(tmp_path).groups) == {"patient_000", "patient_001"}


def test_patches_have_the_pixels_and_the_class_of_their_place(slides, regions):
    patches = load_slides(slides, size=150)
    assert set(map(_slide_of, patches.groups)) == {"patient_001_node_0", "patient_002_node_1"}
    assert set(patches.sources) == {"patient_001_node_0", "patient_002_node_1"}
    assert patches.microns_per_pixel == MICRONS and (patches.extents == 150).all()
    first = patches.select(patches.sources == "patient_001_node_0")
    for index in range(0, len(first), 9):
        x, y = first.positions[index]
        expected = regions["hgsc_nest"][y : y + 150, x : x + 150]
        np.testing.assert_array_equal(first.images[index], expected)
    tumor = shapely.box(MARGIN, MARGIN, 950, 1700) - shapely.box(300, 300, 600, 600)
    squares = shapely.box(*first.positions.T, *(first.positions.T + 150))
    shares = shapely.area(shapely.intersection(tumor, squares)) / 150**2
    assert (shares[first.labels == 1] >= 0.5).all() and (shares[first.labels == 0] == 0).all()
    assert 30 < (first.labels == 1).sum() < 60
    # The other slide's only annotation is on glass.
    assert not patches.labels[patches.sources == "patient_002_node_1"].any()


def test_coarser_patches_lie_at_level_0(slides):
    patches = load_slides(slides, microns_per_pixel=1.0, size=75, per_class=4)
    fine = load_slides(slides, microns_per_pixel=0.5, size=150)
    assert (patches.extents == 150).all() and patches.images.shape[1:] == (75, 75, 3)
    assert set(map(tuple, patches.positions)) <= set(map(tuple, fine.positions))
    assert np.bincount(patches.labels).tolist() == [4, 4]
    check_apart(patches, fine.select(~np.isin(fine.positions, patches.positions).all(axis=1)))
    shifted = fine.select(fine.sources == fine.sources[0])
    with pytest.raises(ValueError, match="overlap"):
        check_apart(patches, shifted)


def test_shares_agree_with_shapely():
    area = shapely.Point(500, 500).buffer(300) - shapely.box(400, 400, 450, 450)
    corners = np.random.default_rng(0).integers(0, 1000, (200, 2))
    expected = [
        area.intersection(shapely.box(x, y, x + 60, y + 60)).area / 3600 for x, y in corners
    ]
    np.testing.assert_allclose(share_of(area, corners, 60), expected, atol=1e-12)
    assert not share_of(shapely.Polygon(), corners, 60).any()


def test_classes_by_share(tmp_path):
    areas = {"tumor": shapely.box(0, 0, 100, 100), "stroma": shapely.box(200, 0, 300, 100)}
    areas["ignore*"] = shapely.box(0, 400, 100, 500)
    annotations = Annotations(tmp_path / "a.xml", areas)
    corners = np.array([[0, 0], [70, 0], [40, 0], [200, 0], [0, 450], [500, 500]])
    labels = classify(corners, 100, annotations, None, Cut())
    assert labels.tolist() == [1, -1, 1, 0, -1, 0]
    labels = classify(corners, 100, annotations, None, Cut(normal="annotated"))
    assert labels.tolist() == [1, -1, 1, 0, -1, -1]
    for given in (None, annotations):
        assert classify(corners, 100, given, "normal", Cut()).tolist() == [0] * 6


def test_a_table_names_slides_patients_and_labels(slides, tmp_path):
    table = pd.DataFrame({"slide": sorted(slides.glob("*.tif")), "patient": ["A", "B"]})
    table["annotations"] = [slides / "patient_001_node_0.xml", None]
    with pytest.raises(ValueError, match="unknown: put annotations"):
        load_slides(table.assign(slide=[_alone(path, tmp_path) for path in table["slide"]]))
    table["label"] = [None, "normal"]
    table.to_csv(tmp_path / "slides.csv", index=False)
    patches = load_patches(tmp_path / "slides.csv", per_class=5)
    assert len(patches) == 10
    assert patches.name == "slides" and '"size": 150' in patches.origin


def _alone(path, folder):
    (folder / "alone").mkdir(exist_ok=True)
    return shutil.copy(path, folder / "alone")


def test_a_single_slide_and_a_folder_normal(slides, tmp_path):
    patches = load_patches(slides / "patient_001_node_0.tif", per_class=3)
    assert len(patches) == 6 and set(map(_slide_of, patches.groups)) == {"patient_001_node_0"}
    (tmp_path / "normal").mkdir()
    shutil.copy(slides / "patient_002_node_1.tif", tmp_path / "normal")
    for name in ("patient_001_node_0.tif", "patient_001_node_0.xml"):
        shutil.copy(slides / name, tmp_path)
    assert np.bincount(load_patches(tmp_path, per_class=3).labels).tolist() == [3, 3]


@pytest.mark.parametrize(
    "attributes",
    [
        {"patch_size_level0": 150},
        {"patch_size": 75, "downsample": np.array([2.0, 2.0]), "patch_level": 1},
    ],
)
def test_coordinates_of_other_tools_replace_the_grid(slides, tmp_path, attributes):
    """TRIDENT says the side at level 0, CLAM side and downsample."""
    corners = np.array([[300, 700], [800, 800], [1200, 1000]])
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["coords"] = corners
        file["coords"].attrs.update(attributes)
    row = {"slide": slides / "patient_001_node_0.tif", "coordinates": tmp_path / "c.h5"}
    patches = load_slides(pd.DataFrame([row]), size=150)
    np.testing.assert_array_equal(patches.positions, corners)
    assert patches.labels.tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="150 pixels at level 0, but .* ask for 100"):
        load_slides(pd.DataFrame([row]), size=100)


def test_nuclei_become_masks(tmp_path, slides, regions):
    path = write_slide(tmp_path / "one.tif", regions["hgsc_nest"])
    inside = square(320, 410, 20)
    features = [("Tumor", "annotation", square(200, 200, 700)), ("tumor", "cell", inside)]
    features += [("lymphocyte", "detection", square(1210, 1310, 8))]
    geojson(tmp_path / "one.geojson", features)
    patches = load_slides(path, size=75, microns_per_pixel=1.0)
    total = {3: 0, 2: 0}
    for (x, y), mask, numbers in zip(patches.positions, patches.masks, patches.nuclei, strict=True):
        for kind in total:
            total[kind] += (mask == kind).sum()
        if x <= 320 < x + 150 and y <= 410 < y + 150:
            assert mask[(410 - y) // 2 + 4, (320 - x) // 2 + 4] == 3
            assert set(np.unique(numbers)) == {0, 1}
    assert total == {3: 100, 2: 16}  # of 1 micrometre: a quarter of the pixels of level 0


def test_one_damaged_slide_does_not_stop_the_others(slides, tmp_path):
    for path in slides.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.tif").write_bytes((slides / "patient_001_node_0.tif").read_bytes()[:9000])
    geojson(tmp_path / "broken.geojson", [("Tumor", "annotation", square(0, 0, 9))])
    rows = {"slide": sorted(tmp_path.glob("*.tif"))}
    with pytest.raises(ChunksFailed, match="1 failed: .*broken.tif"):
        load_slides(pd.DataFrame(rows))


def test_options_are_checked(slides, tmp_path):
    with pytest.raises(ValueError, match="tumor_share.*0 to 1"):
        load_slides(slides, tumor_share=1.5)
    with pytest.raises(ValueError, match="size=0"):
        load_slides(slides, size=0)
    with pytest.raises(ValueError, match="normal is 'none'"):
        load_slides(slides, normal="none")
    with pytest.raises(ValueError, match="none of which is tumor"):
        load_slides(slides / "patient_002_node_1.tif")
    with pytest.raises(ChunksFailed, match=r"areas of \['metastases', 'normal'\]"):
        load_slides(slides, tumor_names=["tumor"])
    with pytest.raises(ValueError, match="has no slides"):
        load_slides(tmp_path)


def test_regions_are_groups_where_one_patient_has_tumour(slides):
    with pytest.warns(UserWarning, match="tumor of one patient only: groups are squares of 200"):
        patches = load_slides(slides, size=100, region=200)
    for (x, y), group, source in zip(
        patches.positions, patches.groups, patches.sources, strict=True
    ):
        row, column = int((y + 50) * MICRONS // 200), int((x + 50) * MICRONS // 200)
        assert group == f"{source}/200um/r{row}c{column}"
    assert len(patches.folds(3)) == 3
    with pytest.raises(ValueError, match="region is 20"):
        load_slides(slides, size=100, region=20)
