import re
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from utils import cluster
from utils.networks import layer_features
from utils.optvis import recipes
from utils.results import all_channels, render_all_channels
from utils.results.all_channels import render_and_compare

OPTIONS = {"steps": 3, "size": 16}


@pytest.fixture
def models(tiny_model, monkeypatch):
    monkeypatch.setattr(recipes, "CHANNELS", 4)
    other = tiny_model.copy()
    for variable in other.network.trainable_variables:
        variable.assign(variable * 0.5)
    return {
        "pretrained": replace(tiny_model, sha256="one"),
        "finetuned": replace(other, weights="finetuned", sha256="other"),
    }


def test_every_channel_has_an_image_a_number_and_a_place_on_a_page(models, images, tmp_path):
    folder = tmp_path / "all"
    table = render_all_channels(models, images, folder, **OPTIONS)
    early, late = (models["pretrained"].layer(n).output.shape[-1] for n in ("early", "late"))
    assert table.groupby("layer").size().to_dict() == {"early": 2 * early, "late": 2 * late}
    row = table.query("network == 'finetuned' and layer == 'late' and channel == 5").iloc[0]
    responses = layer_features(models["finetuned"], images)["late"]
    assert row["patches_max"] == pytest.approx(responses[:, 5].max(), rel=1e-5)
    image = cv2.imread(str(folder / "late" / "finetuned_0005.jpg"))[None, ..., ::-1]
    shown = layer_features(models["finetuned"], image)["late"][0, 5]
    assert row["image"] == pytest.approx(shown, abs=float(0.1 * abs(shown) + 0.02))  # JPEG
    page = (folder / "late.html").read_text()
    files = re.findall(r'src="(.*?)"', page)
    assert len(files) == 2 * late and all((folder / file).exists() for file in files)
    assert "late.html" in (folder / "index.html").read_text()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "channels.csv"), table)


def test_a_job_goes_on_and_is_not_mixed_with_another(models, images, tmp_path, monkeypatch):
    calls = []

    def stopping(*arguments):
        calls.append(arguments[-3:])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render_and_compare(*arguments)

    monkeypatch.setattr(all_channels, "render_and_compare", stopping)
    folder = tmp_path / "all"
    with pytest.raises(KeyboardInterrupt):
        render_all_channels(models, images, folder, **OPTIONS)
    assert not (folder / "index.html").exists()
    table = render_all_channels(models, images, folder, **OPTIONS)
    assert calls[:2] == [("early", 0, 4), ("late", 0, 4)] and calls.count(("late", 4, 6)) == 2
    assert len(calls) == 4
    bytes_before = (folder / "late" / "pretrained_0000.jpg").read_bytes()
    render_all_channels(models, images, folder, **OPTIONS)
    assert len(calls) == 4  # all is there
    with pytest.raises(ValueError, match="holds another job: seed, identity differ|seed differ"):
        render_all_channels(models, images, folder, **OPTIONS, seed=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ValueError, match="is not empty"):
        render_all_channels(models, images, tmp_path / "other", **OPTIONS)
    whole = render_all_channels(models, images, tmp_path / "whole", **OPTIONS)
    pd.testing.assert_frame_equal(whole, table)
    assert (tmp_path / "whole" / "late" / "pretrained_0000.jpg").read_bytes() == bytes_before


def test_workers_render_the_same(models, images, tmp_path, call_by_value):
    here = render_all_channels(models, images, tmp_path / "one", layers=["early"], **OPTIONS)
    cluster.connect("local", workers=2)
    try:
        there = render_all_channels(models, images, tmp_path / "two", layers=["early"], **OPTIONS)
    finally:
        cluster.disconnect()
    numbers = here.select_dtypes(float).columns
    np.testing.assert_allclose(here[numbers], there[numbers], rtol=0.02, atol=1e-3)
