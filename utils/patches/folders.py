"""Patches in folders of images, one folder per class."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.patches.images import read_image
from utils.patches.patchset import CLASS_NAMES, PatchSet, draw_indices
from utils.progress import progress_bar

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def load_folder(
    folder: str | Path,
    *,
    class_names: Sequence[str] = CLASS_NAMES,
    group_pattern: str = r"^([^/]+)/",
    patch_size: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Read a folder with one subfolder of images for each class.

    Parameters
    ----------
    folder : str or Path
        ``folder/<class>/...``, images as PNG, JPEG, TIFF or BMP at any depth.
    class_names : sequence of str
        Names of the subfolders: normal first, tumor second.
    group_pattern : str
        Regular expression whose first group, searched in the path below the class folder, is the
        patch's group. By default the first subfolder; images outside of any are one group.
    patch_size : int, optional
        Resize to this height and width in pixels.
    per_class : int, optional
        Number of patches of each class to draw; the others are never read.
    seed : int
        Seed of the draw.

    Returns
    -------
    PatchSet
    """
    folder = Path(folder)
    files, labels = [], []
    for label, name in enumerate(class_names):
        below = sorted((folder / name).rglob("*"))
        found = [path for path in below if path.suffix.lower() in _IMAGE_SUFFIXES]
        if not found:
            there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else "nothing"
            raise ValueError(
                f"{folder / name} has no images ({', '.join(_IMAGE_SUFFIXES)}); {folder} holds "
                f"{there}. Expected the subfolders {', '.join(class_names)}, or give class_names."
            )
        files += found
        labels += [label] * len(found)
    labels = np.array(labels)
    chosen = np.arange(len(labels)) if per_class is None else draw_indices(labels, per_class, seed)
    images, groups = [], []
    for index in progress_bar(chosen, desc=f"read {folder.name}", unit="image"):
        image = read_image(files[index])
        if patch_size is not None:
            image = cv2.resize(image, (patch_size, patch_size), interpolation=cv2.INTER_AREA)
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{files[index]} is {image.shape[0]} x {image.shape[1]} pixels, but the images "
                f"before it are {images[0].shape[0]} x {images[0].shape[1]}: give patch_size."
            )
        images.append(image)
        below = files[index].relative_to(folder / class_names[labels[index]]).as_posix()
        match = re.search(group_pattern, below)
        groups.append(match.group(1) if match else folder.name)
    return PatchSet(
        np.array(images),
        labels[chosen],
        np.array(groups),
        np.array([files[i].relative_to(folder).as_posix() for i in chosen]),
        np.full((len(chosen), 2), -1),
        class_names=tuple(class_names),
        name=folder.name,
    )
