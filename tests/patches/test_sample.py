import numpy as np
import pytest

from utils.patches import NEOPLASTIC, load_sample


def test_sample_labels_follow_the_masks(sample):
    assert sample.images.dtype == np.uint8 and sample.images.shape[1:] == (150, 150, 3)
    assert np.bincount(sample.labels).min() > 100
    for label, mask in zip(sample.labels, sample.masks, strict=True):
        neoplastic, nuclei = np.sum(mask == NEOPLASTIC), np.sum(mask > 0)
        assert neoplastic >= nuclei / 2 if label else neoplastic == 0 < nuclei
    assert "hgsc_nest/375px/r0c0" in sample.groups
    stroma = sample.sources == "hgsc_stromal_he"
    assert (sample.labels[stroma] == 0).all()
    assert not (sample.masks[stroma] == NEOPLASTIC).any()
    assert ((sample.nuclei > 0) == (sample.masks > 0))[stroma].all()


def test_sample_leaves_out_empty_patches(sample):
    assert (sample.images.min(axis=-1) > 200).mean(axis=(1, 2)).max() <= 0.5


def test_sample_options():
    large = load_sample(patch_size=299, stride=76)
    assert large.images.shape[1:] == (299, 299, 3)
    strict = load_sample(stride=75, tumor_share=0.9)
    assert 0 < strict.labels.sum() < load_sample(stride=75).labels.sum()
    full = load_sample(stride=75, max_empty=0.1)
    assert (full.images.min(axis=-1) > 200).mean(axis=(1, 2)).max() <= 0.1
    with pytest.raises(ValueError, match="patch_size=400 <= block_size=375 <= 1500"):
        load_sample(patch_size=400)
    with pytest.raises(ValueError, match="1 <= stride=0"):
        load_sample(stride=0)


def test_groups_of_another_block_size_have_other_names(sample):
    """The first block of 375 pixels is not that of 750, so that neither stands for the other."""
    large = load_sample(block_size=750, stride=150)
    assert len(set(large.groups)) == 8 and not set(sample.groups) & set(large.groups)
    assert load_sample(patch_size=400, block_size=750, stride=175).images.shape[1:3] == (400, 400)
