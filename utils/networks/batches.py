"""Batches of patches for Keras' `fit`, augmented in training."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from utils.patches import PatchSet
from utils.patches.images import change_stains


class Batches(keras.utils.PyDataset):
    """Batches of images, labels and class weights.

    With a seed the patches come in another order in every epoch, turned, mirrored and restained,
    and a share `blank` of normal patches is replaced by a single random colour, since no tissue is
    no tumor. Order and augmentation of a patch depend on seed, epoch and index only. Without a seed
    they come as they are. The weights give both classes the same total weight.
    """

    def __init__(
        self,
        patches: PatchSet,
        batch_size: int,
        *,
        seed: int | None = None,
        stain_jitter: float = 0.0,
        blank: float = 0.0,
    ):
        super().__init__()
        self._patches, self._batch_size = patches, batch_size
        self._seed, self._stain_jitter, self._blank = seed, stain_jitter, blank
        counts = np.bincount(patches.labels, minlength=2)
        self._weights = (len(patches) / (2 * np.maximum(counts, 1))).astype(np.float32)
        # Deterministic TensorFlow does not prefetch; Keras' own workers disorder several devices.
        self._thread, self._next = ThreadPoolExecutor(1), {}
        self.start(0)

    def start(self, epoch: int) -> None:
        """Take the order and the augmentation of an epoch."""
        self._epoch, self._order = epoch, np.arange(len(self._patches))
        if self._seed is not None:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._order)

    def __len__(self) -> int:
        return -(-len(self._patches) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        prepared = self._next.get((self._epoch, index))
        batch = prepared.result() if prepared else self._batch(index)
        if index + 1 < len(self):
            self._next = {(self._epoch, index + 1): self._thread.submit(self._batch, index + 1)}
        return batch

    def _batch(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        start = index * self._batch_size
        rows = self._order[start : start + self._batch_size]
        images, labels = self._patches.images[rows], self._patches.labels[rows]
        if self._seed is not None:
            generators = [np.random.default_rng([self._seed, self._epoch, row]) for row in rows]
            images = augment(images, generators, self._stain_jitter)
            drawn = [(g.random(), g.integers(0, 256, 3, np.uint8)) for g in generators]
            for image, label, (share, colour) in zip(images, labels, drawn, strict=True):
                if label == 0 and share < self._blank:
                    image[:] = colour
        return images, labels[:, None].astype(np.float32), self._weights[labels]


def augment(
    images: np.ndarray, generators: list[np.random.Generator], stain_jitter: float
) -> np.ndarray:
    """Turn, mirror and restain square patches at random (tissue has no preferred orientation).

    Each patch has a generator of its own. `stain_jitter` is the deviation of the factor on each
    stain's density.
    """
    changed, factors, shifts = [], [], []
    for image, generator in zip(images, generators, strict=True):
        image = np.rot90(image, generator.integers(4))
        changed.append(image[:, ::-1] if generator.integers(2) else image)
        factors.append(generator.normal(1, stain_jitter, (1, 1, 3)))
        shifts.append(generator.normal(0, stain_jitter / 10, (1, 1, 3)))  # densities are tenths
    changed = np.stack(changed)
    return change_stains(changed, np.stack(factors), np.stack(shifts)) if stain_jitter else changed
