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
        Height and width, in pixels, to which patches are resized.
    per_class, seed
        As in `load_patches`; patches that are not drawn are never read.

    Returns
    -------
    PatchSet
    """
    folder = Path(folder)
    files = [_image_files(folder, name, class_names) for name in class_names]
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files])
    chosen = draw_indices(labels, per_class, seed)
    paths, labels = np.concatenate(files)[chosen], labels[chosen]
    images, sources, groups = [], [], []
    bar = progress_bar(paths, desc=f"read {folder.name}", unit="image")
    for path, label in zip(bar, labels, strict=True):
        images.append(read_image(path))
        if patch_size is not None:
            size = (patch_size, patch_size)
            images[-1] = cv2.resize(images[-1], size, interpolation=cv2.INTER_AREA)
        (height, width), expected = images[-1].shape[:2], images[0].shape[:2]
        if (height, width) != expected:
            raise ValueError(
                f"{path} is {height} x {width} pixels, but the images before it are "
                f"{expected[0]} x {expected[1]}: give patch_size."
            )
        sources.append(path.relative_to(folder).as_posix())
        match = re.search(group_pattern, sources[-1].removeprefix(f"{class_names[label]}/"))
        groups.append(match.group(1) if match else folder.name)
    positions = np.full((len(paths), 2), -1)
    arrays = map(np.array, (images, labels, groups, sources, positions))
    return PatchSet(*arrays, class_names=tuple(class_names), name=folder.name)


def _image_files(folder: Path, name: str, class_names: Sequence[str]) -> list[Path]:
    files = sorted((folder / name).rglob("*"))
    files = [path for path in files if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not files:
        content = sorted(path.name for path in folder.glob("*")) or "nothing"
        raise ValueError(
            f"{folder / name} has no images ({', '.join(_IMAGE_SUFFIXES)}); {folder} holds "
            f"{content}. Expected the subfolders {', '.join(class_names)}, or give class_names."
        )
    return files
