from dataclasses import replace

import numpy as np
import pytest
from skimage.color import rgb2lab

from utils.patches import NEOPLASTIC, PatchSet
from utils.patches.lazy import LazyImages
from utils.patches.patchset import check_apart
from utils.patches.stain import match_stain, resize


def _tinted(color, spread, *, count=4, side=16, seed=0):
    """Patches of this mean colour, each lighter than the one before."""
    generator = np.random.default_rng(seed)
    light = np.linspace(-15, 15, count)[:, None, None, None]
    pixels = np.array(color) + light + generator.normal(0, spread, (count, side, side, 3))
    names = np.array([f"slide{i}" for i in range(count)])
    images = np.uint8(np.clip(np.round(pixels), 0, 255))
    return PatchSet(images, np.arange(count) % 2, names, names, np.full((count, 2), -1))


PINK = _tinted((190, 130, 170), 14)
BLUE = _tinted((120, 110, 160), 8, count=3, side=20, seed=1)


def _moments(patches):
    lab = rgb2lab(np.asarray(patches.images)).reshape(-1, 3)
    return np.stack([lab.mean(axis=0), lab.std(axis=0)])


class _Counted:
    """A source of images that counts how often each is read."""

    def __init__(self, images, path):
        self.images, self.filename = images, str(path)
        self.shape, self.dtype, self.reads = images.shape, images.dtype, np.zeros(len(images), int)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        self.reads[key] += 1
        return self.images[key]


def test_moments_become_those_of_the_reference():
    assert np.abs(_moments(PINK) - _moments(BLUE)).max() > 10
    matched = match_stain(PINK, BLUE)
    np.testing.assert_allclose(_moments(matched), _moments(BLUE), atol=0.25)
    assert matched.images.dtype == np.uint8 and matched.images.shape == PINK.images.shape
    np.testing.assert_array_equal(matched.labels, PINK.labels)


def test_a_set_matched_to_itself_is_the_same():
    matched = match_stain(PINK, PINK).images
    assert np.abs(matched.astype(int) - PINK.images).max() <= 1


def test_one_transform_keeps_the_differences_between_patches():
    """The mean of each patch is that of before, under the map from moments to moments."""
    matched = match_stain(PINK, BLUE)
    (mean, deviation), (target, target_deviation) = _moments(PINK), _moments(BLUE)
    before, after = (rgb2lab(x.images).mean(axis=(1, 2)) for x in (PINK, matched))
    expected = (before - mean) / deviation * target_deviation + target
    np.testing.assert_allclose(after, expected, atol=0.25)
    assert (np.diff(after[:, 0]) > 1).all()


def test_images_on_disk_are_read_once(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    source = _Counted(PINK.images, tmp_path / "x")
    on_disk = replace(PINK, images=LazyImages((source,), np.arange(len(PINK))))
    for change in (lambda patches: match_stain(patches, BLUE), lambda patches: resize(patches, 8)):
        source.reads[:] = 0
        changed = change(on_disk)
        assert (source.reads == 1).all() and isinstance(changed.images, np.ndarray)
        np.testing.assert_array_equal(changed.images, change(PINK).images)


def test_provenance_says_what_was_done():
    patches, reference = replace(PINK, origin="a file"), replace(BLUE, origin="another")
    matched = match_stain(patches, reference)
    assert matched.origin == "a file, colours matched to another"
    assert matched.select([0, 2]).origin == matched.origin
    assert resize(patches, 8).origin == "a file, resized to 8 x 8 pixels"
    hashes = {x.sha256 for x in (patches, matched, resize(patches, 8))}
    assert len(hashes) == 3
    assert match_stain(patches, replace(BLUE, name="renamed")).sha256 == matched.sha256


def test_patches_of_one_colour_get_the_mean_of_the_reference():
    grey = replace(PINK, images=np.full_like(PINK.images, 128))
    matched = match_stain(grey, BLUE)
    assert (matched.images == matched.images[0, 0, 0]).all()
    np.testing.assert_allclose(_moments(matched)[0], _moments(BLUE)[0], atol=0.5)


def test_shrinking_averages_and_enlarging_interpolates():
    half = resize(PINK, 8).images
    expected = PINK.images.reshape(4, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    assert half.shape == (4, 8, 8, 3) and half.dtype == np.uint8
    np.testing.assert_allclose(half, expected, atol=0.5)
    ramp = np.zeros_like(PINK.images)
    ramp[:] = np.arange(0, 160, 10)[:, None, None]
    double = resize(replace(PINK, images=ramp), 32).images
    inner = double[0, 2:-2, 5, 0].astype(int)
    assert set(np.diff(inner)) == {5}  # half the step
    assert resize(PINK, 16) is PINK
    with pytest.raises(ValueError, match="side is 0"):
        resize(PINK, 0)


def test_masks_keep_their_values():
    masks, nuclei = np.zeros((4, 16, 16), np.uint8), np.zeros((4, 16, 16), np.int32)
    masks[:, 4:12, 4:12], nuclei[:, 4:12, 4:12] = NEOPLASTIC, 70_000
    for side in (8, 24):
        resized = resize(replace(PINK, masks=masks, nuclei=nuclei), side)
        inside = np.zeros((side, side), bool)
        inside[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = True
        assert resized.masks.dtype == np.uint8 and resized.nuclei.dtype == np.int32
        np.testing.assert_array_equal(resized.masks, np.tile(inside * NEOPLASTIC, (4, 1, 1)))
        np.testing.assert_array_equal(resized.nuclei, np.tile(inside * 70_000, (4, 1, 1)))


@pytest.mark.parametrize("side", [10, 25])
def test_patches_overlap_if_they_did_before(side):
    """At odd places, where positions are rounded, for both directions."""
    one = replace(PINK.select([0]), sources=np.array(["slide"]))
    for x in range(0, 50, 7):
        at = replace(one, positions=np.array([[x, 3]]))
        touching = resize(replace(one, positions=np.array([[x + 16, 3]])), side)
        check_apart(resize(at, side), touching)
        near = resize(replace(one, positions=np.array([[x + 13, 3]])), side)
        with pytest.raises(ValueError, match="overlap"):
            check_apart(resize(at, side), near)
    assert (resize(PINK, side).positions == -1).all()  # unknown still
