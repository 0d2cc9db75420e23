"""One style for all figures."""

import matplotlib
from IPython import get_ipython
from matplotlib_inline.backend_inline import set_matplotlib_formats

# Okabe and Ito's colours, which the colour-blind can tell apart, and a marker each.
NETWORK_STYLES = {
    "random": {"color": "#7f7f7f", "marker": "s", "linestyle": ":"},
    "pretrained": {"color": "#0072b2", "marker": "o", "linestyle": "--"},
    "finetuned": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
}
METHOD_STYLES = {
    "gradcam": {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    "gradcam++": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
    "layercam": {"color": "#009e73", "marker": "D", "linestyle": "-"},
    "saliency": {"color": "#cc79a7", "marker": "v", "linestyle": "-"},
    "haematoxylin": {"color": "#56b4e9", "marker": "P", "linestyle": "--"},
    "centre": {"color": "#7f7f7f", "marker": "s", "linestyle": "-."},
    "random": {"color": "#7f7f7f", "marker": "x", "linestyle": ":"},
    "uniform": {"color": "#000000", "marker": "+", "linestyle": ":"},
}
METHOD_TITLES = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "saliency": "gradient",
}
_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    # For those who save figures otherwise: with their fonts, and the same bytes each time.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "figures",
}


def use_style() -> None:
    """Set the style of all figures; in a notebook, show them as JPEG, which keeps it small."""
    matplotlib.rcParams.update(_STYLE)
    if get_ipython() is not None:
        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})
