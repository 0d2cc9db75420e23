"""What is asked of each claim: endpoints that were fixed before the results are seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEVEL = 1 - 0.05 / 3  # of intervals and, one minus it, of tests: three claims share 5 %
OUTCOMES = ("supported", "refuted", "undecided", "not testable", "no verdict")
LEAST_GROUPS = 6  # fewer cannot reject at this level
LEAST_FINETUNINGS = 3  # as many as hold out every group once


@dataclass(frozen=True)
class Excitation:
    """C1: the share of a channel's excitation that survives finetuning.

    (a(x_pre) - a(start)) / (a(x_ft) - a(start)) as a ratio of sums over channels, where a is the
    spatial mean of the channel in the finetuned network, and x_pre and x_ft maximise it before and
    after finetuning, from the same start.
    """

    claim: str = "C1"
    effect: str = "share of the excitation that survives finetuning"
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by backbone
    channels: int = 24  # per layer, that the layer itself adds
    steps: int = 256
    lost: float = 0.5  # supported if the interval's upper end is below
    kept: tuple[float, float] = (0.75, 1.25)  # refuted if the interval is within


@dataclass(frozen=True)
class Ranking:
    """C2: the AUROC of signed Grad-CAM for neoplastic among all nuclei of a group.

    At the overlays' layer, placed by receptive fields, each nucleus once, from patches that do not
    overlap; finetuned network minus each rival, by exact one-sided sign flips over groups.
    """

    claim: str = "C2"
    effect: str = "AUROC for neoplastic nuclei, finetuned minus rival"
    method: str = "gradcam"
    rivals: tuple[str, ...] = ("pretrained network", "shuffled network")
    lead: float = 0.05  # supported from here on; refuted if an interval's upper end is below


@dataclass(frozen=True)
class Interaction:
    """C3: how much more finetuning changes the readability of texture in deep than in early layers.

    (finetuned - pretrained) in the last third of the sound layers minus the same in the first
    third, of held-out R2 within image and class, mean over concepts; intervals over groups within
    images.
    """

    claim: str = "C3"
    effect: str = "R2 gained by finetuning, deep minus early layers"
    concepts: tuple[str, ...] = ("contrast", "homogeneity", "log energy", "correlation")
    margin: float = 0.05  # supported from here on; refuted if the interval is within


ENDPOINTS = {
    "C1": Excitation(
        layers={
            "inceptionv3": ("mixed6d", "mixed6e", "mixed7a"),
            "densenet121": ("transition3", "dense4_8", "dense4"),
        }
    ),
    "C2": Ranking(),
    "C3": Interaction(),
}
# What the sample is for each claim, of which a verdict speaks.
SAMPLE = {"C1": "one tumour", "C2": "one nest of one tumour", "C3": "two images of one tumour type"}
