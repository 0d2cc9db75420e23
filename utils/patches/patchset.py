"""Labelled patches with their origin, and how they are drawn and split."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from utils.patches.lazy import LazyImages, lazy

CLASS_NAMES = ("normal", "tumor")
NUCLEUS_TYPES = ("background", "connective", "inflammatory", "neoplastic")  # by value in masks
NEOPLASTIC = 3
UNTYPED = 4  # in masks: a nucleus of unknown type
UNANNOTATED = 255


@dataclass(frozen=True)
class PatchSet:
    """Labelled patches with their origin; `N` of them, `H` x `W` pixels."""

    # (N, H, W, 3), uint8, RGB; from files too large for the memory, images that stay on disk
    images: np.ndarray | LazyImages
    labels: np.ndarray  # (N,), int64, index into `class_names`
    groups: np.ndarray  # (N,), str, region or patient, never on both sides of a split
    sources: np.ndarray  # (N,), str, image, slide or node
    # (N, 2), int64, x and y of the upper left corner in the source, in pixels; -1 where unknown
    positions: np.ndarray
    # (N, H, W), uint8, type of nucleus as `NEOPLASTIC`; `UNANNOTATED` where a source has no masks
    masks: np.ndarray | None = None
    # (N, H, W), int32, number of the nucleus; 0 outside of nuclei and where a source has no masks
    nuclei: np.ndarray | None = None
    class_names: tuple[str, ...] = CLASS_NAMES
    name: str = "patches"
    origin: str = ""  # for provenance; by default the name
    microns_per_pixel: float | None = None  # of the patches; None if unknown
    # (N,), float, micrometres per pixel of the source (level 0 of a slide), in which positions
    # are; None if positions are in pixels as large as the patches'
    source_microns: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "origin", self.origin or self.name)
        object.__setattr__(self, "images", lazy(self.images))
        for name in ("masks", "nuclei"):
            array = getattr(self, name)
            if array is not None and array.shape != self.images.shape[:3]:
                raise ValueError(
                    f"{name} have the shape {array.shape}, images {self.images.shape}; expected "
                    "one value per pixel."
                )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        counts = [f"{np.sum(self.labels == i)} {name}" for i, name in enumerate(self.class_names)]
        height, width = self.images.shape[1:3]
        size = f"{height} x {width} pixels"
        size += f" of {self.microns_per_pixel:g} µm" if self.microns_per_pixel else ""
        size += f"; {len(np.unique(self.groups))} groups"
        return f"<PatchSet {self.name}: {', '.join(counts)}; {size}>"

    @cached_property
    def sha256(self) -> str:
        """Hash of images (on disk: of their files and rows), labels and groups."""
        on_disk = isinstance(self.images, LazyImages)
        content = self.images.identity.encode() if on_disk else np.ascontiguousarray(self.images)
        digest = hashlib.sha256(content)
        digest.update(np.ascontiguousarray(self.labels, dtype=np.int64))
        digest.update("\n".join(map(str, self.groups)).encode())
        return digest.hexdigest()

    def select(self, chosen: np.ndarray) -> "PatchSet":
        """Return the patches at these indices, or where this boolean mask is true."""
        arrays = {name: x for name, x in vars(self).items() if hasattr(x, "shape")}
        chosen_arrays = {
            name: x.select(chosen) if isinstance(x, LazyImages) else x[chosen]
            for name, x in arrays.items()
        }
        return replace(self, **chosen_arrays)

    def load(self) -> "PatchSet":
        """Return the same patches with all images in memory."""
        return replace(self, images=np.asarray(self.images))

    def sample(self, per_class: int | None, *, seed: int = 0) -> "PatchSet":
        """Draw at most `per_class` patches (or all) per class, evenly over groups, in order."""
        return self.select(self.sample_indices(per_class, seed=seed))

    def sample_indices(self, per_class: int | None, *, seed: int = 0) -> np.ndarray:
        """Return the indices of the patches that `sample` draws."""
        return draw_indices(self.labels, per_class, seed, self.groups)

    @property
    def extents(self) -> np.ndarray:
        """Width and height of the patches in their sources, ``(N, 2)``, as positions are."""
        scale = np.ones(len(self))
        if self.source_microns is not None:
            scale = self.microns_per_pixel / self.source_microns
        return np.multiply.outer(scale, self.images.shape[2:0:-1])

    @property
    def in_tumor_images(self) -> np.ndarray:
        """Whether a patch's source has patches of both classes, ``(N,)``; all, if none has both.

        Within such a source, image and class are not confounded.
        """
        with_both = set(self.sources[self.labels == 1]) & set(self.sources[self.labels == 0])
        mask = np.isin(self.sources, list(with_both))
        return mask if mask.any() else np.ones(len(self), bool)

    @property
    def images_of_groups(self) -> np.ndarray:
        """Name of the image that holds each patch's group, (N,); "" if a group is in several.

        Patches that are files of their own have no image in common.
        """
        per_group = pd.Series(self.sources).groupby(self.groups).nunique()
        return self.sources if (per_group == 1).all() else np.full(len(self), "")

    def folds(self, count: int = 3, *, seed: int = 0) -> list[tuple["PatchSet", "PatchSet"]]:
        """Split into training and held-out patches `count` times, each group held out once.

        Classes, and patches inside and outside of tumour images, are spread over the folds as
        evenly as whole groups allow. No training patch overlaps a held-out one.
        """
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        strata = 2 * self.labels + self.in_tumor_images
        sides = []
        for split in splitter.split(self.labels, strata, self.groups):
            train, held_out = (self.select(indices) for indices in split)
            for side in (train, held_out):
                if len(np.unique(side.labels)) < len(self.class_names):
                    raise ValueError(
                        f"{self} has no split into {count} folds with every class on both sides: "
                        "give more groups (regions or patients) of each class, or another seed."
                    )
            check_apart(train, held_out)
            sides.append((train, held_out))
        return sides


def check_apart(one: PatchSet, other: PatchSet) -> None:
    """Raise ValueError if two sets have patches that overlap."""
    for source in np.intersect1d(one.sources, other.sources):
        sides = [
            x.select((x.sources == source) & (x.positions >= 0).all(axis=1)) for x in (one, other)
        ]
        (corners, others), (extents, other_extents) = (
            [getattr(side, name) for side in sides] for name in ("positions", "extents")
        )
        before = corners[:, None] + extents[:, None] <= others[None]
        apart = before | (others + other_extents <= corners[:, None])
        if not apart.any(axis=-1).all():
            raise ValueError(f"patches of {source!r} overlap across the split: use larger groups.")


def draw_indices(
    labels: np.ndarray, per_class: int | None, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Sorted indices of at most `per_class` patches per label, evenly over any groups."""
    if per_class is None:
        return np.arange(len(labels))
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}; expected at least 1.")
    order = np.random.default_rng(seed).permutation(len(labels))
    table = pd.DataFrame({"label": labels[order], "index": order})
    if groups is not None:
        # Every group's first patch comes before any group's second.
        turn = table.groupby(["label", groups[order]]).cumcount()
        table = table.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    return np.sort(table.groupby("label").head(per_class)["index"].to_numpy())
