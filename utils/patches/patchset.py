"""Labelled patches with their origin, and how they are drawn and split."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

CLASS_NAMES = ("normal", "tumor")
NEOPLASTIC = 3  # in masks, beside background 0, connective 1 and inflammatory 2
UNANNOTATED = 255
_ARRAYS = ("images", "labels", "groups", "sources", "positions", "masks", "nuclei")


@dataclass(frozen=True)
class PatchSet:
    """Labelled patches with their origin.

    Attributes
    ----------
    images : array, (N, H, W, 3), uint8
        RGB.
    labels : array, (N,), int64
        Index into `class_names`.
    groups, sources : array, (N,), str
        Region or patient, never on both sides of a split; image, slide or node of each patch.
    positions : array, (N, 2), int64
        x and y of the upper left corner in the source, in pixels; -1 where unknown.
    masks : array, (N, H, W), uint8, or None
        Type of nucleus by pixel, see `NEOPLASTIC`; `UNANNOTATED` where the source has no masks.
    nuclei : array, (N, H, W), int32, or None
        Number of the nucleus by pixel, 0 outside of nuclei and where the source has no masks.
    class_names : tuple of str
    name, origin : str
        Name of the collection; its source, for provenance, which by default is the name.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    positions: np.ndarray
    masks: np.ndarray | None = None
    nuclei: np.ndarray | None = None
    class_names: tuple[str, ...] = CLASS_NAMES
    name: str = "patches"
    origin: str = ""

    def __post_init__(self):
        if not self.origin:
            object.__setattr__(self, "origin", self.name)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        counts = [f"{np.sum(self.labels == i)} {name}" for i, name in enumerate(self.class_names)]
        height, width = self.images.shape[1:3]
        size = f"{height} x {width} pixels; {len(np.unique(self.groups))} groups"
        return f"<PatchSet {self.name}: {', '.join(counts)}; {size}>"

    @property
    def sha256(self) -> str:
        """Hash of images, labels and groups."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels, dtype=np.int64))
        digest.update("\n".join(map(str, self.groups)).encode())
        return digest.hexdigest()

    def select(self, chosen: np.ndarray) -> "PatchSet":
        """Return the patches at these indices, or where this boolean mask is true."""
        chosen = np.asarray(chosen)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return replace(self, **{k: x[chosen] for k, x in arrays.items() if x is not None})

    def sample(self, per_class: int | None, *, seed: int = 0) -> "PatchSet":
        """Draw at most `per_class` patches (or all) per class, evenly over groups, in order."""
        return self.select(self.sample_indices(per_class, seed=seed))

    def sample_indices(self, per_class: int | None, *, seed: int = 0) -> np.ndarray:
        """Return the indices of the patches that `sample` draws."""
        return draw_indices(self.labels, per_class, seed, self.groups)

    def split(self, *, folds: int = 3, seed: int = 0) -> tuple["PatchSet", "PatchSet"]:
        """Split into training and held-out patches (one fold of whole groups), without overlap."""
        count = len(np.unique(self.groups))
        if count < folds:
            raise ValueError(
                f"a split into {folds} folds needs as many groups, but this PatchSet has {count}: "
                "give the regions or patients when reading it, or lower folds."
            )
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for train, test in splitter.split(self.images, self.labels, self.groups):
            sides = self.select(train), self.select(test)
            if all(len(np.unique(side.labels)) == len(self.class_names) for side in sides):
                check_disjoint(*sides)
                return sides
        raise ValueError(
            f"no split of {count} groups into {folds} folds leaves every class on both sides: give "
            "more groups of each class, or lower folds."
        )


def check_disjoint(one: PatchSet, other: PatchSet) -> None:
    """Raise ValueError if two sets share a group or have patches that overlap."""
    shared = np.intersect1d(one.groups, other.groups)
    if len(shared):
        raise ValueError(f"the group {shared[0]!r} is on both sides of the split.")
    size = np.array(one.images.shape[2:0:-1])
    for source in np.intersect1d(one.sources, other.sources):
        positions, others = (x.positions[x.sources == source] for x in (one, other))
        known = (positions >= 0).all(axis=1)
        apart = np.abs(positions[known][:, None] - others[None]) >= size
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
