from dataclasses import replace

import numpy as np
import pytest

from utils.patches import hdf5, load_hdf5, load_slides, write_hdf5

pytestmark = pytest.mark.filterwarnings("ignore:.*one patient only")


@pytest.fixture(scope="module")
def cut(slides):
    return load_slides(slides, size=96, microns_per_pixel=1.0)


def test_what_is_written_is_read(cut, tmp_path):
    write_hdf5(cut, tmp_path / "patches.h5")
    again = load_hdf5(tmp_path / "patches.h5")
    assert again.microns_per_pixel == 1.0 and (again.source_microns == 0.5).all()
    places = [_by_place(patches) for patches in (cut, again)]
    assert places[0].keys() == places[1].keys()
    for place, (label, image) in places[0].items():
        assert places[1][place][0] == label
        np.testing.assert_array_equal(places[1][place][1], image)
    assert list(tmp_path.iterdir()) == [tmp_path / "patches.h5"]


def _by_place(patches):
    keys = zip(patches.sources, patches.groups, *patches.positions.T.tolist(), strict=True)
    return dict(zip(keys, zip(patches.labels, patches.images, strict=True), strict=True))


def test_patches_are_appended_once(cut, tmp_path):
    half, path = np.arange(0, len(cut), 2), tmp_path / "patches.h5"
    write_hdf5(cut.select(half), path)
    assert len(load_hdf5(path)) == len(half)
    write_hdf5(cut, path)
    write_hdf5(cut, path)
    again = load_hdf5(path)
    assert len(again) == len(cut) and len(_by_place(again)) == len(cut)
    other = replace(cut, microns_per_pixel=2.0)
    with pytest.raises(ValueError, match=r"patches of 1.0 µm per pixel, not 2.0"):
        write_hdf5(other, path)
    assert len(load_hdf5(path)) == len(cut)
    smaller = replace(cut, images=np.asarray(cut.images)[:, :50, :50])
    with pytest.raises(ValueError, match="write to another file"):
        write_hdf5(smaller, path)


def test_an_interrupted_run_goes_on(cut, tmp_path, monkeypatch):
    """Chunks that are complete are not read again."""
    path, read, arrays = tmp_path / "patches.h5", [], hdf5._arrays

    def chunk(patches):
        read.append(len(patches))
        if len(read) == 3:
            raise KeyboardInterrupt
        return arrays(patches)

    monkeypatch.setattr(hdf5, "_arrays", chunk)
    with pytest.raises(KeyboardInterrupt):
        write_hdf5(cut, path)
    assert not path.exists() and len(list(tmp_path.glob(".patches.h5.*/*.npz"))) == 2
    write_hdf5(cut, path)
    assert sum(read) == len(cut) + read[2] and len(load_hdf5(path)) == len(cut)


def test_masks_and_unknown_places(sample, tmp_path):
    few = sample.select(np.arange(0, len(sample), 100))
    write_hdf5(few, tmp_path / "sample.h5")
    again = load_hdf5(tmp_path / "sample.h5")
    assert again.masks.sum() == few.masks.sum() and again.nuclei.max() == few.nuclei.max()
    assert again.microns_per_pixel is None and again.source_microns is None
    unknown = replace(few, positions=np.full((len(few), 2), -1), masks=None, nuclei=None)
    write_hdf5(unknown, tmp_path / "unknown.h5")
    assert (load_hdf5(tmp_path / "unknown.h5").positions == -1).all()


def test_patches_that_cannot_be_read_are_left_out(damaged, tmp_path):
    """One tile of the slide's finest level is damaged."""
    patches = load_slides(damaged, size=64, microns_per_pixel=0.5)
    unread = 0
    for index in range(len(patches)):
        try:
            patches.images[index]
        except ValueError:
            unread += 1
    assert 0 < unread < len(patches) / 4
    message = f"{unread} of {len(patches)} patches cannot be read.*patient_001_node_0.tif cannot"
    with pytest.warns(UserWarning, match=message):
        write_hdf5(patches, tmp_path / "patches.h5")
    assert len(load_hdf5(tmp_path / "patches.h5")) == len(patches) - unread
