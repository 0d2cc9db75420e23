"""Which slides, with which annotations, of which patients."""

from pathlib import Path

import pandas as pd

from utils.patches.annotations import FORMATS
from utils.patches.patchset import CLASS_NAMES
from utils.patches.slides import SUFFIXES, slide_files

# Patients of Camelyon17 and of TCGA; elsewhere, every slide is a patient of its own.
PATIENT = r"^(patient_\d+|TCGA-\w{2}-\w{4})"
COLUMNS = ("slide", "annotations", "patient", "label", "microns_per_pixel", "coordinates")


def slide_table(
    slides: str | Path | pd.DataFrame,
    annotations: str | Path | None,
    patient: str,
    slide_microns: float | None,
) -> pd.DataFrame:
    """One row per slide with all of `COLUMNS`, whose empty values are None."""
    root = Path()
    if isinstance(slides, pd.DataFrame):
        table = slides
    elif Path(slides).suffix.lower() == ".csv":
        table, root = pd.read_csv(slides, dtype={"patient": str}), Path(slides).parent
    else:
        path = Path(slides)
        table = pd.DataFrame({"slide": slide_files(path) if path.is_dir() else [path]})
    if "slide" not in table or not len(table):
        raise ValueError(f"{slides} has no slides: expected files of {', '.join(SUFFIXES)}.")
    table = table.reindex(columns=COLUMNS).astype(object)
    table = table.where(table.notna(), None)
    for column in ("slide", "annotations", "coordinates"):
        table[column] = [path and root / path for path in table[column]]
    stems = table["slide"].map(lambda path: path.stem)
    if doubled := sorted(stems[stems.duplicated()]):
        raise ValueError(f"several slides are called {doubled[:3]}: rename them.")
    matches = stems.str.extract(patient).iloc[:, 0]
    table["patient"] = table["patient"].fillna(matches).fillna(stems).astype(str)
    table["microns_per_pixel"] = table["microns_per_pixel"].fillna(slide_microns)
    for index, row in table.iterrows():
        if row["annotations"] is None:
            table.at[index, "annotations"] = _annotations_of(row["slide"], annotations)
        if row["label"] is None and row["slide"].parent.name == CLASS_NAMES[0]:
            table.at[index, "label"] = CLASS_NAMES[0]
    table = table.where(table.notna(), None)
    unknown = table["slide"][table["annotations"].isna() & (table["label"] != CLASS_NAMES[0])]
    if len(unknown):
        raise ValueError(
            f"which patches of {len(unknown)} slides, such as {unknown.iloc[0]}, are tumor is "
            f"unknown: put annotations ({', '.join(FORMATS)}) of the same name beside them, give "
            "their folder, or put slides without tumour into a folder 'normal', or label them so."
        )
    return table


def _annotations_of(slide: Path, given: str | Path | None) -> Path | None:
    """Find the annotations of a slide in a folder, by default its own, or take the only file."""
    if given is not None and not Path(given).is_dir():
        return Path(given)
    folder = slide.parent if given is None else Path(given)
    named = (folder / f"{slide.stem}{suffix}" for suffix in FORMATS)
    return next((path for path in named if path.is_file()), None)
