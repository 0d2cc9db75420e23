import pandas as pd
import pytest

from utils.patches.slide_table import PATIENT, slide_table


def _slides(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return pd.DataFrame({"slide": [folder / name for name in names if "xml" not in name]})


def test_patients_are_read_from_names(tmp_path):
    names = ("patient_012_node_3.tif", "TCGA-AB-1234-01Z-00-DX1.svs", "slide7.ndpi")
    table = _slides(tmp_path, *names).assign(label="normal")
    patients = slide_table(table, None, PATIENT, None)["patient"]
    assert patients.tolist() == ["patient_012", "TCGA-AB-1234", "slide7"]
    patients = slide_table(table, None, r"^(\w{5})", None)["patient"]
    assert patients.tolist() == ["patie", "TCGA-AB-1234-01Z-00-DX1", "slide"]


def test_annotations_are_found_beside_slides_or_in_a_folder(tmp_path):
    table = _slides(tmp_path, "a.svs", "a.xml", "b.svs", "other/b.xml", "other/a.xml")
    with pytest.raises(ValueError, match="patches of 1 slides, such as .*b.svs"):
        slide_table(table, None, PATIENT, None)
    named = slide_table(table, tmp_path / "other", PATIENT, 0.25)
    assert [path.parent.name for path in named["annotations"]] == ["other", "other"]
    assert named["microns_per_pixel"].tolist() == [0.25, 0.25]
    assert named["coordinates"].tolist() == [None, None]


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    _slides(tmp_path, "a.svs", "a.xml")
    (tmp_path / "t.csv").write_text("slide,annotations,patient\na.svs,a.xml,007\n")
    (row,) = slide_table(tmp_path / "t.csv", None, PATIENT, None).to_dict("records")
    assert row["annotations"] == tmp_path / "a.xml" and row["patient"] == "007"
    (tmp_path / "u.csv").write_text("name\na.svs\n")
    with pytest.raises(ValueError, match="u.csv has no slides"):
        slide_table(tmp_path / "u.csv", None, PATIENT, None)


def test_slides_have_different_names(tmp_path):
    table = _slides(tmp_path, "normal/a.svs", "tumor/a.svs")
    with pytest.raises(ValueError, match=r"several slides are called \['a'\]"):
        slide_table(table, None, PATIENT, None)
