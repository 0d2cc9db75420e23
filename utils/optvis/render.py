"""Gradient ascent from noise to the images that maximise objectives."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from utils.networks import Model
from utils.optvis import tabulation, transform
from utils.optvis.ascent import BATCH_SIZE, Ascent, Rendering
from utils.optvis.objectives import Objective
from utils.optvis.param import Image, image
from utils.progress import progress_bar


def render_vis(
    model: Model,
    objectives: Objective | Sequence[Objective],
    param_f: Callable[[], Image] | None = None,
    transforms: Sequence[transform.Transform] | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    thresholds: Sequence[int] = (512,),
    **options,
) -> np.ndarray:
    """Render one image for each objective, and return the images alone.

    Parameters
    ----------
    model, objectives, param_f, transforms, optimizer, thresholds, **options
        See `ascend`.

    Returns
    -------
    array, (T, N, H, W, 3), float32 in [0, 1]
        The images at each threshold.
    """
    return ascend(model, objectives, param_f, transforms, optimizer, thresholds, **options).images


def ascend(
    model: Model,
    objectives: Objective | Sequence[Objective],
    param_f: Callable[[], Image] | None = None,
    transforms: Sequence[transform.Transform] | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    thresholds: Sequence[int] = (512,),
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    last_relus: str = "redirected",
    dtype: str = "float32",
    progress: bool = True,
) -> Rendering:
    """Render one image for each objective, in batches that share one graph.

    An interrupt (Ctrl-C, Jupyter's stop) ends the ascent and returns what there is: the images of
    the batches that are complete, and of the one at work as it stands.

    Parameters
    ----------
    model : Model
        Left as it is; its network is cut at the deepest layer that the objectives use.
    objectives : Objective or sequence of Objective
        What the images are to maximise.
    param_f : callable, optional
        Makes the `Image`, with as many images as there are objectives; by default Fourier images
        of 128 pixels. Its variables are left at the images that were reached.
    transforms : sequence of Transform, optional
        By default `transform.standard()`; an empty one for none.
    optimizer : keras.optimizers.Optimizer, optional
        By default Adam at 0.05, as in Lucid. Its state starts anew in each batch.
    thresholds : sequence of int
        Steps after which to keep the images.
    seed : int
        Seed of the transforms: the image at index i moves by the draws of seed ``seed + i``.
    batch_size : int
        Most images in a step. Images that depend on each other (`objectives.diversity`, shared
        parts) are never parted.
    last_relus, dtype : str
        See `preparation.prepare_network`.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If a layer, channel or position does not exist, the image is too small for the network, or
        the numbers of images and objectives differ.
    FloatingPointError
        If an objective is not a finite number.
    """
    objectives = [objectives] if isinstance(objectives, Objective) else list(objectives)
    thresholds = sorted(set(thresholds))
    if not objectives or not thresholds or thresholds[0] < 1 or batch_size < 1:
        raise ValueError(
            f"{len(objectives)} objectives, thresholds={thresholds}, batch_size={batch_size}: "
            "expected at least one objective, and thresholds and batch_size from 1."
        )
    images = param_f() if param_f else image(128, batch=len(objectives), seed=seed)
    moves = transform.standard() if transforms is None else transforms
    ascent = Ascent(
        model,
        objectives,
        images,
        transform.compose(moves),
        optimizer or keras.optimizers.Adam(0.05),
        batch_size=batch_size,
        last_relus=last_relus,
        dtype=dtype,
    )
    layers = "+".join(tabulation.layers(objectives)) or "image"
    with progress_bar(
        total=thresholds[-1] * len(ascent.batches),
        desc=f"{len(objectives)} x {layers}",
        unit="step",
        disable=not progress,
        mininterval=1,
        leave=False,
    ) as bar:
        return ascent.run(objectives, images, thresholds, seed=seed, tick=bar.update)
