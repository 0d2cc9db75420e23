"""The pages over a small folder of results: as text, and in a browser if there is one."""

import html
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pandas as pd
import pytest

from utils.results.__main__ import main
from utils.results.pages import build, write

LAYERS = {"inceptionv3": ["mixed5b", "mixed6a"], "densenet121": ["transition1", "dense2"]}
INSET = [0.1, 0.2, 0.5, 0.6]
NASTY = 'Figure </script><b>bold</b> & "quoted", *stars*, a | bar\'s'
NETWORKS = ("pretrained", "finetuned", "random")
CLAIM = "early layers, +0.279 (q < 0.05), more\n- a line like a list\nC3 is supported."
FLAGS = (
    "--no-sandbox --headless --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


class _Folder:
    """An experiment: files with their attributes, and at the end the run.json."""

    def __init__(self, root: Path, folder: str, notebook: str, backbone: str):
        self.path, self.notebook, self.backbone = root / folder, notebook, backbone
        self.files, self.random = {}, np.random.default_rng(0)

    def image(self, name, size=(16, 16), **attributes):
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = self.random.integers(0, 256, (*size, 3), np.uint8)
        assert cv2.imwrite(str(self.path / name), pixels)
        self.files[name] = {"sha256": "0" * 64, "alt": f"{name} of {self.backbone}", **attributes}

    def table(self, name, columns, rows, layout=None):
        pd.DataFrame(rows, columns=columns.split()).to_csv(self.path / name, index=False)
        self.files[name] = {"sha256": "0" * 64, "alt": f"table {name}", "layout": layout or {}}

    def run(self, **verdicts):
        run = {
            "notebook": self.notebook,
            "backbone": self.backbone,
            "backbone_title": {"inceptionv3": "InceptionV3"}.get(self.backbone, "DenseNet-121"),
            "parameters": {"SEED": 0, "LAYERS": [], "LAYER": ""},
            "weights": {n: {"origin": f"made {n}", "sha256": "ab" * 32} for n in NETWORKS},
            "data": {"origin": "sample", "sha256": "cd" * 32, "patches": 700, "groups": 32},
            "versions": {"python": "3.11.7"},
            "code_sha256": "ef" * 32,
            "finished": "2026-11-23T10:00:00+00:00",
            "duration_seconds": 215.3,
            "verdicts": verdicts,
            "files": {name: self.files[name] for name in sorted(self.files)},
        }
        (self.path / "run.json").write_text(json.dumps(run))


def _channels(root, backbone, network):
    name = backbone if network == "pretrained" else f"{backbone}_finetuned"
    folder = _Folder(root, name, "visualize_channels_CNN.ipynb", backbone)
    for layer in LAYERS[backbone]:
        for channel in (8, 15):
            image = f"{layer}/channel_{channel:04d}.png"
            where = {"network": network, "layer": layer}
            folder.image(image, channel=channel, **where)
            patches = image.replace(".png", "_patches.jpg")
            folder.image(patches, of=image, role="patches")
        folder.image(f"{layer}.jpg", **where)
    if network == "pretrained":
        folder.image("overview.jpg", (40, 60), network=NETWORKS, alt=NASTY)
        folder.image("complexity.png", (30, 60), network=NETWORKS)
        changes = ["pretrained", "finetuned - pretrained", "random - pretrained"]
        rows = [
            (layer, measure, change, *np.round(folder.random.normal(size=3), 5), 8)
            for layer in LAYERS[backbone]
            for measure in ("bytes_per_pixel", "spectral_slope")
            for change in changes
        ]
        wide = {"index": ["measure", "layer"], "columns": ["network"], "values": "mean"}
        folder.table("complexity.csv", "layer measure network mean low high n", rows, wide)
        rows = [(network, layer, 8) for network in NETWORKS for layer in LAYERS[backbone]]
        folder.table("channels.csv", "network layer channel", rows)
    folder.run(C1="The data do not support C1.")


def _gradcam(root, top, method):
    folder = _Folder(root, f"{top}/inceptionv3", "gradcam_plus.ipynb", "inceptionv3")
    for kind, outcome in (("normal", "correct"), ("tumor", "correct"), ("tumor", "wrong")):
        shown = {"network": "finetuned", "class": kind, "prediction": outcome}
        folder.image(f"{kind}_{outcome}.jpg", (60, 40), **shown)
        for number in (3, 20):
            name = f"{kind}/{outcome}_{number:03d}.jpg"
            more = {"method": method, "layer": "mixed7c", "probability": number / 100}
            folder.image(name, (200, 300), inset=INSET, **shown, **more)
            folder.image(name.replace(".jpg", "_patch.jpg"), (48, 48), of=name, role="patch")
    if top == "gradcam":
        maps = [(n, m, y) for n in NETWORKS for m in ("gradcam", "gradcam++") for y in ("7a", "7c")]
        rows = [
            (*m, measure, *np.round(folder.random.random(3), 5), 47, 5)
            for m in [*maps, ("", "uniform", "")]
            for measure in ("pointing", "energy_ratio")
        ]
        columns = "network method layer measure mean low high n groups"
        folder.table("localization.csv", columns, rows)
        folder.run(C2="a line\nThe data support C2 in part.", randomisation="gradcam: passes")
    else:
        folder.run()


def _rcvs(root):
    folder = _Folder(root, "rcvs/inceptionv3", "RCVs_analysis.ipynb", "inceptionv3")
    folder.image("texture_r2.png", (60, 40), network=NETWORKS)
    folder.image("relevance.png", (30, 60), network=["pretrained", "finetuned"])
    seeds = [("random", 0), ("random", 1), ("pretrained", 0), ("finetuned", 0)]
    numbers = np.round(folder.random.random((2 * 2 * 4, 3)), 5).tolist()
    keys = [(y, c, *s) for y in ("conv2d_2b", "mixed5b") for c in ("ASM", "energy") for s in seeds]
    rows = [(y, c, *v, n, s) for (y, c, n, s), v in zip(keys, numbers, strict=True)]
    columns = "layer concept r2 low high network seed"
    wide = {"index": ["concept", "layer"], "columns": ["network"], "values": "r2"}
    folder.table("texture_r2_held_out.csv", columns, rows, wide)
    rows = [("pretrained", "finetuned", y, 0.99926, 0.998, 1.0) for y in ("conv2d_2b", "mixed5b")]
    wide = {"index": ["layer"], "columns": ["one", "other"], "values": "cka"}
    folder.table("cka.csv", "one other layer cka low high", rows, wide)
    rows = [
        ("conv2d_2b", "ASM", -1.7635, -2, -1.5, 0.01, 0.04, "pretrained"),
        ("conv2d_2b", "energy", 0.25, 0.1, 0.3, 0.01, 0.06, "pretrained"),
    ]
    columns = "layer concept br low high q_random q_permuted network"
    folder.table("relevance.csv", columns, rows)
    folder.table("weight_change.csv", "layer relative_change", [("mixed5b", 0.0155154)])
    folder.run(C3=CLAIM)


def _results(root: Path) -> Path:
    for backbone in LAYERS:
        for network in ("pretrained", "finetuned"):
            _channels(root, backbone, network)
    lucid = _Folder(root, "lucid_inceptionv3", "lucid_iv3.ipynb", "inceptionv3")
    lucid.image("mixed5b/channel_0008.png", network="pretrained", layer="mixed5b", channel=8)
    lucid.image("overview.jpg", (40, 60), network=["pretrained", "finetuned"])
    lucid.run()
    _gradcam(root, "gradcam", "Grad-CAM")
    _gradcam(root, "gradcamplus", "Grad-CAM++")
    _rcvs(root)
    executed = root / "notebooks" / "inceptionv3" / "gradcam_plus.ipynb"
    executed.parent.mkdir(parents=True)
    executed.write_text("{}")
    return root


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    root = _results(tmp_path_factory.mktemp("results"))
    write(root)
    return root


def _tables(readme: Path) -> dict[str, pd.DataFrame]:
    """Tables of a README as text, by title."""
    found = {}
    blocks = re.findall(r"<summary>(.*?)</summary>\n\n((?:\|.*\n)+)", readme.read_text())
    for title, block in blocks:
        lines = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in block.splitlines()]
        cells = [[re.sub(r"\\(.)", r"\1", cell) for cell in line] for line in lines]
        found[html.unescape(title)] = pd.DataFrame(cells[2:], columns=cells[0])
    return found


def _three(*values) -> list:
    return [pytest.approx(value, rel=0.005) for value in values]


def _numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-\d+)?", cell)]


def _links(path: Path) -> set[str]:
    text = path.read_text()
    found = re.findall(r'(?:src|href)="([^"]*)"', text)
    if path.suffix == ".md":
        found += re.findall(r"\]\(([^)]*)\)", text)
    else:
        data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
        cards = [card for section in data["sections"] for card in section["cards"]]
        images = [image for card in cards for part in card["parts"] for image in part["images"]]
        found += [image[0] for image in images] + [i[5][0] for i in images if len(i) > 5]
    return {html.unescape(link) for link in found} - {"data:,"}


def test_the_same_results_give_the_same_pages(results, tmp_path):
    pages = build(results)
    assert {path: path.read_text() for path in pages} == pages
    assert len(pages) == 2 + len(list(results.glob("*/**/run.json")))
    shutil.copytree(results, tmp_path / "copy")
    again = build(tmp_path / "copy")
    assert [text for text in again.values()] == [text for text in pages.values()]


def test_every_link_leads_to_a_file(results):
    for page in build(results):
        links = [link for link in _links(page) if not link.startswith("#")]
        assert len(links) >= 3, page
        assert not [link for link in links if "://" in link], page
        missing = [x for x in links if not (page.parent / unquote(x).split("#")[0]).is_file()]
        assert not missing, page


def test_every_image_is_in_a_readme_and_on_the_page(results):
    for run in results.glob("*/**/run.json"):
        files = json.loads(run.read_text())["files"]
        assert set(files) <= _links(run.with_name("README.md"))
        folder = run.parent.relative_to(results).as_posix()
        pages = {f"{layer}.jpg" for layers in LAYERS.values() for layer in layers}
        images = {f"{folder}/{name}" for name in files if name not in pages}
        assert images <= _links(results / "index.html")


def test_tables_are_those_of_the_csv(results):
    tables = _tables(results / "inceptionv3" / "README.md")
    csv = pd.read_csv(results / "inceptionv3" / "complexity.csv")
    table = tables["table complexity.csv"].set_index(["measure", "layer"])
    for row in csv.itertuples():
        cell = table.loc[(row.measure, row.layer), row.network]
        assert _numbers(cell) == _three(row.mean, row.low, row.high)

    tables = _tables(results / "gradcam/inceptionv3" / "README.md")
    csv = pd.read_csv(results / "gradcam/inceptionv3/localization.csv")
    table = tables["table localization.csv"]
    assert len(table) == len(csv) == 26 and "low" not in table
    for cells, row in zip(table.itertuples(), csv.fillna("–").itertuples(), strict=True):
        assert (cells.network, cells.method, cells.layer) == (row.network, row.method, row.layer)
        assert _numbers(cells.mean) == _three(row.mean, row.low, row.high)

    tables = _tables(results / "rcvs/inceptionv3" / "README.md")
    csv = pd.read_csv(results / "rcvs/inceptionv3/texture_r2_held_out.csv")
    table = tables["table texture_r2_held_out.csv"].set_index(["concept", "layer"])
    for (concept, layer, network), rows in csv.groupby(["concept", "layer", "network"]):
        seeds = rows["r2"].mean(), rows["low"].min(), rows["high"].max()
        assert _numbers(table.loc[(concept, layer), network]) == _three(*seeds)
    relevance = tables["table relevance.csv"].iloc[0]
    assert _numbers(relevance["br"]) == _three(-1.7635, -2, -1.5)
    cka = tables["table cka.csv"].iloc[0]
    assert _numbers(cka["pretrained and finetuned"]) == [0.999, 0.998, 1.0]
    assert tables["table weight_change.csv"].iloc[0].tolist() == ["mixed5b", "0.0155"]


def test_readmes_say_what_was_found_and_how_it_was_made(results):
    text = (results / "rcvs/inceptionv3" / "README.md").read_text()
    quoted = [line[2:].rstrip("\\") for line in text.splitlines() if line.startswith("> ")]
    assert [html.unescape(re.sub(r"\\(.)", r"\1", q)) for q in quoted] == CLAIM.splitlines()
    for part in ('LAYERS = \\[\\], LAYER = ""', "made finetuned", "abababababab…", "215 s"):
        assert part in text
    row = next(
        x for x in (results / "README.md").read_text().splitlines() if "rcvs/inceptionv3" in x
    )
    assert "| C3 | C3 is supported. |" in row


def test_layers_are_in_the_order_of_the_network(results):
    # run.json is sorted by name, in which dense2 comes before transition1.
    text = (results / "densenet121_finetuned" / "README.md").read_text()
    assert re.findall("^### (.*)", text, re.M) == LAYERS["densenet121"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: "{", "is no record"),
        (lambda run: [run], "run.json is no record"),
        (lambda run: {**run, "notebook": "other.ipynb"}, "'other.ipynb'; expected visualize_"),
        (lambda run: {**run, "files": {"cka.csv": {"alt": "", "sha256": "", "of": "x"}}}, "'role'"),
    ],
)
def test_bad_records_are_named(tmp_path, change, message):
    _rcvs(tmp_path)
    path = tmp_path / "rcvs/inceptionv3/run.json"
    run = change(json.loads(path.read_text()))
    path.write_text(run if isinstance(run, str) else json.dumps(run))
    with pytest.raises(ValueError, match=r"make figures") as caught:
        build(tmp_path)
    assert message in str(caught.value) and str(path.parent) in str(caught.value)


def test_bad_folders_and_tables_are_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"has no run.json.*make figures"):
        build(tmp_path)
    _rcvs(tmp_path)
    (tmp_path / "rcvs/inceptionv3/cka.csv").write_text("one,other\na,b\n")
    monkeypatch.setattr("sys.argv", ["results", "pages", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert re.search(r"cka.csv is no table to be shown .*'layer'", capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.html")), "nothing is written of results that are broken"


# In a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("playwright is not installed (requirements-dev.txt)")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser; one of {', '.join(names)} is needed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, results):
    """Open the page at a hash; at the end, nothing may have failed or left the folder."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(5000)
    wrong = []

    def request(request):
        if not request.url.startswith((results.as_uri(), "data:")):
            wrong.append(request.url)

    def visit(address="", **viewport):
        page = context.new_page()
        if viewport:
            page.set_viewport_size(viewport)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda failed: wrong.append(failed.url))
        page.on("request", request)
        page.goto(f"{results.as_uri()}/index.html{address}")
        return page

    yield visit
    context.close()
    assert not wrong


def _says(page, text):
    """Wait until the count of items is this; the page follows its address a moment later."""
    says = "text => document.querySelector('output').textContent === text"
    page.wait_for_function(says, arg=text)
    return True


def _options(page, name):
    return page.locator(f"select[name={name}] option").all_text_contents()


def test_the_first_view_is_a_summary(visit):
    page = visit()
    assert page.locator("section:visible").count() == 6
    assert page.locator(".card").count() == 0
    assert page.locator("figure:visible").count() == 8
    assert _says(page, "8 of 34 items: summary")
    assert "C3 is supported." in page.locator("#rcvs-inceptionv3 blockquote").inner_text()
    page.locator("#channels-inceptionv3 .more a").click()
    assert _says(page, "6 of 34 items")
    assert page.locator(".card").count() == 4
    assert page.locator("section:visible").count() == 1


def test_filters_show_what_matches_and_offer_no_dead_end(visit):
    page = visit()
    page.select_option("[name=experiment]", label="Channels")
    assert _says(page, "12 of 34 items")
    page.select_option("[name=backbone]", label="DenseNet-121")
    assert _says(page, "6 of 34 items")
    assert _options(page, "layer") == ["all", *LAYERS["densenet121"]]
    assert page.locator("[name=class]").is_disabled()
    assert page.locator("h3").all_text_contents() == LAYERS["densenet121"]
    page.select_option("[name=layer]", "dense2")
    assert _says(page, "2 of 34 items")
    # What the new choice leaves without items is dropped.
    page.select_option("[name=backbone]", label="InceptionV3")
    assert _says(page, "6 of 34 items")
    assert page.locator("[name=layer]").input_value() == ""
    page.select_option("[name=network]", "finetuned")
    page.locator(".part").nth(4).wait_for(state="detached")
    assert page.locator(".part").count() == 4
    page.get_by_role("button", name="Reset").click()
    assert _says(page, "8 of 34 items: summary")


def test_an_address_restores_a_view(visit):
    page = visit()
    page.select_option("[name=experiment]", label="Grad-CAM++")
    assert _says(page, "9 of 34 items")
    page.select_option("[name=class]", "tumor")
    assert _says(page, "6 of 34 items")
    titles = page.locator("h4").all_text_contents()
    assert titles == ["p(tumor) = 0.03", "p(tumor) = 0.20"] * 2
    address = page.evaluate("location.hash")
    other = visit(address)
    assert other.locator("h4").all_text_contents() == titles
    assert other.locator("[name=experiment]").input_value() == "gradcamplus"
    page.go_back()
    assert _says(page, "9 of 34 items")
    assert page.locator("[name=class]").input_value() == ""
    wrong = visit("#experiment=lucid&layer=nowhere&class=%3Cb%3E")
    assert wrong.locator("section:visible").count() == 1


def test_networks_are_side_by_side(visit):
    page = visit("#experiment=channels&backbone=inceptionv3&layer=mixed6a")
    card = page.locator(".card").first
    assert card.locator(".part p").all_text_contents() == ["pretrained", "finetuned"]
    sources = card.locator("img").evaluate_all("all => all.map(i => i.getAttribute('src'))")
    name = "mixed6a/channel_0008"
    assert sources == [
        f"{folder}/{name}{end}"
        for folder in ("inceptionv3", "inceptionv3_finetuned")
        for end in (".png", "_patches.jpg")
    ]
    boxes = [card.locator("img").nth(i).bounding_box() for i in range(4)]
    assert len({box["y"] for box in boxes}) == 1, "one row"
    assert sorted(boxes, key=lambda box: box["x"]) == boxes


def test_the_slider_uncovers_the_patch(visit):
    page = visit("#experiment=gradcam&class=tumor")
    card = page.locator(".card").first
    slider = card.get_by_role("slider", name="Patch instead of overlay, p(tumor) = 0.03")
    slider.scroll_into_view_if_needed()
    image, patch = card.locator("img").first.bounding_box(), card.locator(".patch").bounding_box()
    laid = [
        (patch["x"] - image["x"]) / image["width"],
        (patch["y"] - image["y"]) / image["height"],
        patch["width"] / image["width"],
        patch["height"] / image["height"],
    ]
    assert laid == [pytest.approx(share, abs=0.005) for share in INSET]

    def covered():
        clip = card.locator(".patch").evaluate("i => getComputedStyle(i).clipPath")
        right = re.fullmatch(r"inset\(0(?:px)? (.*?) 0(?:px)?(?: 0(?:px)?)?\)", clip)[1]
        return (
            float(re.search(r"100% - ([\d.]+)%", right)[1])
            if "calc" in right
            else (100 - float(right.rstrip("%")))
        )

    assert covered() == 0
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(patch["x"] + patch["width"] * 0.6, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert covered() == pytest.approx(60, abs=2), "the edge is where the thumb is"
    before = covered()
    slider.press("ArrowRight")
    assert covered() == before + 1
    slider.press("Home")
    assert covered() == 0 and not page.locator("dialog").is_visible()


def test_the_dialog_works_by_keyboard(visit):
    page = visit("#experiment=gradcam&class=tumor")
    dialog, links = page.locator("dialog"), page.locator("main a.view:visible")
    assert links.count() == 6
    opener = links.nth(3)
    opener.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    files = links.evaluate_all("all => all.map(a => a.getAttribute('href'))")

    def shown():
        source = dialog.locator("img").first.get_attribute("src")
        assert dialog.locator(".file").get_attribute("href") == source
        return files.index(source)

    assert shown() == 3 and dialog.locator(".place").inner_text() == "4 of 6"
    assert "tumor/correct_020.jpg of inceptionv3" in dialog.locator("#caption").inner_text()
    page.keyboard.press("ArrowRight")
    assert shown() == 4
    for expected in (3, 2, 1, 0, 5):
        page.keyboard.press("ArrowLeft")
        assert shown() == expected
    dialog.get_by_role("button", name="Next image").click()
    assert shown() == 0
    dialog.get_by_role("button", name="Previous image").click()
    dialog.get_by_role("slider").press("ArrowRight")
    assert shown() == 5, "arrows on the slider move the slider"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert opener.evaluate("a => a === document.activeElement")


def test_text_is_text(visit):
    page = visit()
    assert page.locator("#channels-inceptionv3 figcaption").first.inner_text() == NASTY
    page.locator("#channels-inceptionv3 a.view").first.click()
    assert page.locator("#caption").inner_text() == NASTY
    assert page.locator("b").count() == 0


def test_images_are_lazy_described_and_keep_their_place(visit):
    page = visit("#network=finetuned")
    images = page.locator("main img").evaluate_all(
        "all => all.map(i => [i.loading, i.alt, i.classList.contains('patch')"
        " || i.getAttribute('width') * i.getAttribute('height') > 0])"
    )
    assert len(images) > 30
    assert all(lazy == "lazy" and alt and sized for lazy, alt, sized in images)
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth)")


@pytest.mark.parametrize("address", ["", "#experiment=channels", "#experiment=gradcam"])
def test_a_phone_needs_no_scrolling_aside(visit, address):
    page = visit(address, width=375, height=700)
    page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true; })")
    if address:
        page.locator("main a.view:visible").last.click()
        box = page.locator("dialog").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_without_scripts_the_page_points_to_the_readme(browser, results):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{results.as_uri()}/index.html")
    assert page.locator("noscript a").get_attribute("href") == "README.md"
    assert page.locator("figure:visible").count() == 13
