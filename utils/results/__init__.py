"""What is kept: figures, runs and their records, executed notebooks, pages, verification."""

from utils.results import figures
from utils.results.all_channels import render_all_channels
from utils.results.concepts import show_discovered, show_measures, show_r2, show_relevance
from utils.results.run import Results, Run, start
from utils.results.saving import save_channels, save_nuclei, save_overlays, show_finetunings
from utils.results.slides import (
    save_slide,
    show_slides,
    write_geojson,
    write_pyramid,
    write_rgb_pyramid,
)

__all__ = [
    "Results",
    "Run",
    "figures",
    "render_all_channels",
    "save_channels",
    "save_nuclei",
    "save_overlays",
    "save_slide",
    "show_discovered",
    "show_finetunings",
    "show_measures",
    "show_r2",
    "show_relevance",
    "show_slides",
    "start",
    "write_geojson",
    "write_pyramid",
    "write_rgb_pyramid",
]
