import json
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest

from utils.claims import judge
from utils.files import file_sha256
from utils.results import Results, Run, figures, start
from utils.results.pages import build
from utils.results.record import WORK, Record, in_words, problems
from utils.results.run import readable


def _draw(folder):
    figures.use_style()
    generator = np.random.default_rng(0)
    images = generator.random((3, 16, 16, 3)).astype(np.float32)
    results = Results(folder, "experiment")
    rows = [
        (network, layer, concept, r2, r2, r2 - 0.1, r2 + 0.1, -0.1, 0.1)
        for network, r2 in (("random", 0.2), ("pretrained", 0.6))
        for layer in ("a", "b")
        for concept in ("contrast", "ASM")
    ]
    columns = ["network", "layer", "concept", "r2", "adjusted_r2"]
    columns += ["low", "high", "null_low", "null_high"]
    table = pd.DataFrame(rows, columns=columns)
    results.figure(figures.patchwork(images, ["1", "2", "3"], title="t"), "patchwork.png")
    channels = {"a": [1, 2, 3]}
    overview = figures.channel_overview({"x": {"a": images}, "y": {"a": images}}, channels)
    results.figure(overview, "overview.png")
    results.figure(figures.r2_panels(table, table, table[:0]), "r2.png")
    pixels = np.uint8(255 * images)
    panel = figures.explanations(pixels, {"gradcam": pixels}, ["1", "2", "3"])
    results.figure(panel, "panel.png")
    results.image(images[0], "image.png")
    results.table(pd.DataFrame({"x": [1 / 3]}), "table.csv")
    return {name: (results.folder / name).read_bytes() for name in results.files}


def test_same_results_same_bytes(tmp_path):
    first, second = _draw(tmp_path / "1"), _draw(tmp_path / "2")
    assert first == second and len(first) == 6
    picture = cv2.imread(str(tmp_path / "1" / "experiment" / "image.png"))[..., ::-1]
    expected = np.random.default_rng(0).random((3, 16, 16, 3)).astype(np.float32)[0]
    np.testing.assert_array_equal(picture, np.round(255 * expected).astype(np.uint8))
    assert all(b"matplotlib" not in first[name] for name in first)


@pytest.fixture
def small_run(tmp_path):
    def small(mode):
        script = Path(__file__).with_name("small_run.py")
        command = [sys.executable, str(script), mode, str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        return done.stdout

    return small


def test_killed_at_random_points(small_run):
    printed = small_run("kill")
    assert len(re.findall(r"^kill .* 0 broken files$", printed, re.M)) == 20
    assert "kills: 20; last run: 0; same bytes as undisturbed: True; left: []" in printed
    assert max(map(int, re.findall(r"(\d+) steps kept", printed))) >= 1  # as fast as it may be


def test_several_runs_at_once(small_run):
    assert small_run("twice").count("exit codes [0, 0, 0]; one whole run: True") == 2


def test_full_disk(small_run):
    printed = small_run("starve")
    assert "exit code 1; old results kept: True" in printed
    assert "stain.png cannot be written" in printed and "free some space" in printed


def _finished(root, tiny_model, patches, names, seed=0):
    run = Run("x.ipynb", root, {"SEED": seed, "METHODS": ("a",), "CACHE": None})
    run.uses({"pretrained": tiny_model}, patches)
    for name in names:
        pixels = np.full((4, 4, 3), seed, np.uint8)
        run.results("channels").image(pixels, name, "a picture", layer="early")
    run.verdict("C1", "undecided")
    run.finish()
    return root / "channels"


def test_record_and_stale_files(tmp_path, tiny_model, colored_patches, capsys):
    folder = _finished(tmp_path, tiny_model, colored_patches, ["a.png", "old/b.png"])
    (folder / "mine.txt").write_text("of no run")
    _finished(tmp_path, tiny_model, colored_patches, ["a.png"], seed=5)
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "mine.txt", "run.json"]
    record = json.loads((folder / "run.json").read_text())
    assert record["parameters"] == {"SEED": 5, "METHODS": ["a"], "CACHE": None}
    assert record["verdicts"] == {"C1": "undecided"}
    assert record["backbone"] == "tiny" and record["notebook"] == "x.ipynb"
    assert record["data"]["sha256"] == colored_patches.sha256 and record["data"]["groups"] == 8
    assert record["weights"] == {"pretrained": {"origin": "test", "sha256": ""}}
    sha256 = file_sha256(folder / "a.png")
    assert record["files"] == {"a.png": {"sha256": sha256, "alt": "a picture", "layer": "early"}}
    assert record["versions"]["numpy"] == np.__version__ and record["duration_seconds"] >= 0
    assert "undecided" in capsys.readouterr().out
    assert not list((tmp_path / WORK).glob(".*"))


def test_verdicts_ask_the_gate(tmp_path, tiny_model, colored_patches, capsys):
    rows = [
        {"finetuning": "fold 0", "condition": "grey", "value": 0.1, "expected": "below 0.3"},
        {"finetuning": "fold 1", "condition": "grey", "value": 0.4, "expected": "below 0.3"},
        {"finetuning": "fold 1", "condition": "lead", "value": None, "expected": "at least 0"},
    ]
    outcomes = pd.Series([True, False, None], dtype=object)
    for count, verdict in (
        (1, "supported"),
        (3, "Not testable: the network is hardly finetuned: fold 1: grey 0.40, expected below 0.3"),
    ):
        run = Run("x.ipynb", tmp_path, {})
        gates = pd.DataFrame(rows[:count]).assign(passed=outcomes[:count])
        run.uses({"finetuned": tiny_model}, colored_patches, gates)
        run.results("channels").image(np.zeros((4, 4, 3), np.uint8), "a.png")
        run.verdict("C1", "supported")
        run.finish()
        record = json.loads((tmp_path / "channels" / "run.json").read_text())
        assert record["verdicts"] == {"C1": verdict}
        assert record["finetunings"] == len({row["finetuning"] for row in rows[:count]})
        assert [row["passed"] for row in record["gate"]] == [True, False, None][:count]
    printed = capsys.readouterr().out
    assert "gate: 1 of 1 networks" in printed and "gate: 1 of 2 networks" in printed


def test_nothing_is_published_before_the_end(tmp_path, tiny_model):
    run = Run("x.ipynb", tmp_path, {})
    run.results("channels").image(np.zeros((4, 4, 3), np.uint8), "a.png")
    with pytest.raises(ValueError, match="uses"):
        run.finish()
    assert not (tmp_path / "channels").exists()


def test_names_of_files(tmp_path):
    with pytest.raises(ValueError, match="'a.gif'; expected a name ending in .png or .jpg"):
        Results(tmp_path).image(np.zeros((4, 4, 3), np.uint8), "a.gif")


def test_start_reads_the_parameters_of_the_notebook(tmp_path, monkeypatch, capsys):
    parameters = """SEED = 3
LAYERS = ("a",)
CACHE = None  # or a folder
BACKBONE = "densenet121"
FORCE = False
RESULTS = "results\""""
    cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": ""}}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=kernel)
    nbformat.write(notebook, tmp_path / "x.ipynb")
    monkeypatch.setattr("utils.results.run.ROOT", tmp_path)
    variables = {"OTHER": 1, "np": np, "SEED": 4, "LAYERS": ("b",), "CACHE": {"a": 1}}
    variables |= {"BACKBONE": "densenet121", "FORCE": True, "RESULTS": str(tmp_path / "results")}
    variables["SCHEDULER"] = ""
    run = start("x.ipynb", variables, "maps/{backbone}")
    names = ("SEED", "LAYERS", "CACHE", "BACKBONE")
    assert run.record["parameters"] == {name: variables[name] for name in names}
    assert run.backbone.name == "densenet121"
    assert run.main is run.results("maps", "densenet121")
    with pytest.raises(FileNotFoundError, match="y.ipynb"):
        start("y.ipynb", variables, "maps")


def test_what_is_shown_is_saved_and_displayed(tmp_path, capsys):
    results = Results(tmp_path)
    table = pd.DataFrame({"layer": ["a", "a"], "network": ["x", "y"], "r2": [0.12345, np.nan]})
    results.show(figures.patchwork(np.zeros((1, 4, 4, 3))), "a.png", "a figure", network="x")
    results.show(
        table,
        "a.csv",
        "a table",
        layout={"index": ["layer"], "columns": ["network"]} | {"values": "r2"},
    )
    assert pd.read_csv(tmp_path / "a.csv").equals(pd.read_csv(StringIO(table.to_csv(index=False))))
    assert results.files["a.csv"]["layout"]["values"] == "r2"
    assert results.files["a.png"]["network"] == "x"
    assert re.search(r"a +0.123 +–", capsys.readouterr().out)


TABLE = pd.DataFrame(
    {
        "layer": ["b", "b", "a", "a"],
        "one": "x",
        "other": ["y", "z", "y", "z"],
        "value": [0.12345, 1234.5, np.nan, 2.0],
        "low": [0.1, np.nan, np.nan, 1.5],
        "high": [0.2, np.nan, np.nan, 2.5],
        "n": 8,
    }
)


def test_numbers_have_three_digits_and_intervals_stand_behind_them():
    text = readable(TABLE)
    assert list(text.columns) == ["layer", "one", "other", "value", "n"]
    assert text["value"].tolist() == ["0.123 (0.100 to 0.200)", "1234", "–", "2.00 (1.50 to 2.50)"]
    assert text["n"].tolist() == ["8"] * 4


def test_wide_tables_keep_the_order_and_join_names_of_columns():
    text = readable(TABLE, ["layer"], ["one", "other"], "value")
    assert list(text.columns) == ["layer", "x and y", "x and z"]
    assert text["layer"].tolist() == ["b", "a"]
    assert text["x and z"].tolist() == ["1234", "2.00 (1.50 to 2.50)"]


def test_the_same_place_is_averaged_within_the_widest_interval():
    seeds = pd.concat([TABLE, TABLE.assign(value=TABLE["value"] + 1, low=-1.0)])
    text = readable(seeds, ["layer"], ["other"], "value")
    assert text.loc[1, "z"] == "2.50 (-1.00 to 2.50)"


@pytest.mark.parametrize(
    ("finetunings", "passed", "outcome"),
    [(1, True, "no verdict"), (3, True, "supported"), (3, False, "not testable")],
)
def test_verdicts_and_pages_are_what_the_tables_give(
    tmp_path, tiny_model, colored_patches, finetunings, passed, outcome
):
    generator = np.random.default_rng(0)
    images = ["all", *["one"] * 6, *["other"] * 6]
    names = ["none", *(f"group {number}" for number in range(12))]
    difference = 0.3 + 0.01 * generator.normal(size=13)
    interaction = pd.DataFrame({"left_out": names, "image": images, "difference": difference})
    row = {"condition": "grey", "value": 0.1, "expected": "below 0.3", "passed": passed}
    gates = pd.DataFrame([{**row, "finetuning": f"fold {i}"} for i in range(finetunings)])
    run = Run("RCVs_analysis.ipynb", tmp_path, {"PATCHES": "sample"})
    run.main = run.results("rcvs", "tiny")
    run.uses({"finetuned": tiny_model}, colored_patches, gates)
    run.judge("C3", interaction, "change of R2 without each group")
    run.finish()
    folder = tmp_path / "rcvs" / "tiny"
    record = Record.read(folder)
    about = {"backbone": "tiny", "finetunings": finetunings}
    said = record.verdicts["C3"]
    assert said == in_words(judge("C3", pd.read_csv(folder / "c3.csv"), **about), record.gate)
    assert f"C3: {outcome} on" in said and "deep minus early layers: +0.3" in said
    assert ("fold 2: grey 0.10, expected below 0.3" in said) != passed
    pages = build(tmp_path)
    for page in (tmp_path / "README.md", folder / "README.md"):
        assert said.splitlines()[-1] in pages[page].replace("\\", "")
    assert problems(tmp_path) == []
    table = pd.read_csv(folder / "c3.csv")
    table.assign(difference=-table["difference"]).to_csv(folder / "c3.csv", index=False)
    record.files["c3.csv"]["sha256"] = file_sha256(folder / "c3.csv")
    record.write(folder)
    (line,) = problems(tmp_path)
    assert "the verdict on C3 is not that of its table" in line
