import numpy as np
import pytest

from utils.networks.batches import Batches, augment


def generators(count):
    return [np.random.default_rng(seed) for seed in range(count)]


def test_augmentation_turns_and_stains(images):
    turned = augment(images, generators(len(images)), stain_jitter=0)
    assert any((one != other).any() for one, other in zip(turned, images, strict=True))
    for one, other in zip(turned, images, strict=True):
        candidates = [np.rot90(other, k) for k in range(4)]
        candidates += [image[:, ::-1] for image in candidates]
        assert any((one == candidate).all() for candidate in candidates)
    stained = augment(images, generators(len(images)), stain_jitter=0.05)
    assert stained.dtype == np.uint8 and (stained != turned).any()


def by_patch(batches, patches):
    """Images by the index of their patch, which the red of its corner pixels tells."""
    images = np.concatenate([images for images, _, _ in batches])
    return {int(image[0, 0, 0]): image for image in images}


def test_a_patch_depends_on_seed_epoch_and_index_only(colored_patches):
    patches = colored_patches
    patches.images[..., 0] = np.arange(len(patches))[:, None, None]
    options = {"seed": 1, "stain_jitter": 0.0}
    small, large = (Batches(patches, size, **options) for size in (7, 32))
    assert len(small) == 10 and len(large) == 2
    first = by_patch(large, patches)
    assert len(first) == len(patches)
    for index, image in by_patch(small, patches).items():
        np.testing.assert_array_equal(image, first[index])
    for batches in (small, large):
        batches.start(1)
    later = Batches(patches, 32, **options)
    later.start(1)
    for one, other in zip(large, later, strict=True):
        for array, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, same)
    second = by_patch(large, patches)
    assert any((second[index] != first[index]).any() for index in first)
    orders = [[int(i[0, 0, 0]) for i in batch[0]] for batch in (large[0], Batches(patches, 32)[0])]
    assert orders[0] != orders[1] == list(range(32))


def test_weights_make_accuracy_balanced(colored_patches):
    patches = colored_patches.select(np.arange(20, 64))  # 12 normal, 32 tumor
    _, labels, weights = zip(*Batches(patches, 16), strict=True)
    labels, weights = np.concatenate(labels)[:, 0], np.concatenate(weights)
    totals = [weights[labels == label].sum() for label in (0, 1)]
    assert totals == pytest.approx([22, 22])


def test_a_share_of_normal_patches_is_blank(colored_patches):
    batches = Batches(colored_patches, 64, seed=0, blank=0.25)
    shares, colours = [], set()
    for epoch in range(40):
        batches.start(epoch)
        images, labels, _ = batches[0]
        blank = (images == images[:, :1, :1]).all(axis=(1, 2, 3))
        assert not blank[labels[:, 0] == 1].any()
        shares.append(blank[labels[:, 0] == 0].mean())
        colours |= {tuple(image[0, 0].tolist()) for image in images[blank]}
    assert 0.2 < np.mean(shares) < 0.3  # 0.25 within 4 standard errors of 1,280 patches
    assert len(colours) > 200
