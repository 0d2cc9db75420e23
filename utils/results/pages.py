"""Pages over the results: an HTML gallery, and a README in every folder, from the results alone."""

import html
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from PIL import Image

from utils.files import whole_file
from utils.results.record import AGAIN, RECORD, Record, records
from utils.results.run import readable

_TEMPLATES = Path(__file__).with_name("templates")
_TEXTS = json.loads((_TEMPLATES / "texts.json").read_text(encoding="utf-8"))
_KINDS = [SimpleNamespace(**kind) for kind in _TEXTS["kinds"]]


class Experiment:
    """One folder with a ``run.json``, checked, and its files sorted by what they are."""

    def __init__(self, root: Path, path: Path, run: Record):
        self.path, self.run = path, run
        self.folder = path.relative_to(root).as_posix()
        top = self.folder.split("/")[0]
        kinds = {kind.key: kind for kind in _KINDS if kind.notebook == run.notebook}
        if not kinds:
            known = ", ".join(dict.fromkeys(kind.notebook for kind in _KINDS))
            raise ValueError(f"{path / RECORD} has {run.notebook!r}; expected {known}. {AGAIN}")
        self.kind = kinds.get(top, next(iter(kinds.values())))
        finetuned = ", finetuned" if top.endswith("_finetuned") else ""
        self.title = f"{self.kind.title}, {run.backbone_title}{finetuned}"
        failed = {row["finetuning"] for row in run.gate if row["passed"] is False}
        self.gate = f"gate failed by {', '.join(failed)}" if failed else "gate passed"
        executed = f"notebooks/{run.backbone}/{run.notebook}"
        self.executed = executed if (root / executed).exists() else ""
        self.tables = [name for name in run.files if name.endswith(".csv")]
        images = self._images()
        self.cards = [image for image in images if "title" in image]
        layers = {f"{card['layer']}.jpg" for card in self.cards if "channel" in card}
        self.pages = {Path(i["name"]).stem: i for i in images if i["name"] in layers}
        main = self.kind.main
        self.figures = [i for i in images if "title" not in i and i["name"] not in layers]
        self.figures.sort(key=lambda i: main.index(i["name"]) if i["main"] else len(main))

    def _images(self) -> list[dict[str, Any]]:
        """Return every main image, with its companion by role."""
        images = {}
        for name, about in self.run.files.items():
            if not name.endswith((".png", ".jpg")):
                continue
            with Image.open(self.path / name) as picture:  # reads no more than the head
                width, height = picture.size
            image = images[name] = {**about, "name": name, "width": width, "height": height}
            image |= {"src": quote(f"{self.folder}/{name}"), "main": name in self.kind.main}
            networks = about.get("network", [])
            image["networks"] = [networks] if isinstance(networks, str) else networks
            if "channel" in about:  # a card
                image |= {"group": about["layer"], "title": f"channel {about['channel']}"}
            elif "inset" in about:
                image["group"] = f"{about['class']}, {about['prediction']} predictions"
                image["title"] = f"p(tumor) = {about['probability']:.2f}"
        for image in images.values():
            if "of" in image:
                images[image["of"]][image["role"]] = image
        return [image for image in images.values() if "of" not in image]

    def table(self, name: str) -> pd.DataFrame:
        """Read a table as text, in the layout in which the notebook shows it, if it does."""
        layout = self.run.files[name].get("layout", {})
        try:
            return readable(pd.read_csv(self.path / name), **layout)
        except (ValueError, KeyError) as error:
            text = f"{self.path / name} is no table to be shown ({error!r}). {AGAIN}"
            raise ValueError(text) from error


def _find_experiments(root: Path) -> list[Experiment]:
    """Return all experiments: by kind, the paper's network first, and before finetuning first."""
    experiments = [Experiment(root, folder, record) for folder, record in records(root)]

    paper = "inceptionv3"
    experiments.sort(key=lambda e: (e.run.backbone != paper, e.run.backbone, e.folder))
    experiments.sort(key=lambda e: _KINDS.index(e.kind))
    layers: dict[str, list[str]] = {}  # the tables have them from input to output
    for e in experiments:
        if "channels.csv" in e.tables:
            layers.setdefault(e.run.backbone, []).extend(e.table("channels.csv")["layer"])
    for e in experiments:
        depth = [*layers.get(e.run.backbone, []), *(card["group"] for card in e.cards)]
        e.cards.sort(key=lambda card, depth=depth: depth.index(card["group"]))
    return experiments


def _cards(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make cards, each with the same channel of all networks or with one overlay, by group."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for image in images:
        name = str(image.get("channel", image["name"]))
        card = {key: image[key] for key in ("group", "title", "layer", "class") if key in image}
        card = groups.setdefault(image["group"], {}).setdefault(name, card | {"parts": []})
        pictures = [_picture(one) for one in (image, image.get("patches")) if one]
        card["parts"].append({"network": image["networks"], "images": pictures})
    return [card for cards in groups.values() for card in cards.values()]


def _picture(image: dict[str, Any]) -> list[Any]:
    """Describe an image for the page by a list, since there are many."""
    picture = [image[key] for key in ("src", "alt", "width", "height")]
    if "inset" in image and "patch" in image:
        picture += [[round(share, 5) for share in image["inset"]], _picture(image["patch"])]
    return picture


def _markdown(text: Any) -> str:
    """Escape markup of Markdown and HTML; an underscore inside a word is safe."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#+-](?= )|(?<=^\d)\.(?= ))", r"\\\1", text)


def environment() -> jinja2.Environment:
    """Make the environment of the templates."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"md": _markdown, "url": quote, "json": json.dumps}
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return templates


def build(root: str | Path) -> dict[Path, str]:
    """Make ``index.html``, ``README.md`` and the ``README.md`` of every experiment, as text."""
    root = Path(root)
    experiments = _find_experiments(root)
    templates = environment()
    titles = {kind.key: kind.title for kind in _KINDS}
    sections: dict[str, list[Experiment]] = {}  # the folders of one kind and backbone, of one run
    for experiment in experiments:
        run = experiment.run
        sections.setdefault(f"{experiment.kind.key}-{run.backbone}", []).append(experiment)
        titles[run.backbone] = run.backbone_title
    data = [
        {"id": key, "cards": _cards([card for member in members for card in member.cards])}
        for key, members in sections.items()
    ]
    templates.globals |= {"claims": _TEXTS["claims"], "experiments": experiments}
    templates.globals |= {"sections": sections, "data": {"titles": titles, "sections": data}}

    def page(template: str, **variables: Any) -> str:
        return templates.get_template(template).render(**variables)

    pages = {root / "index.html": page("index.html.j2")}
    pages[root / "README.md"] = page("results.md.j2")
    for experiment in experiments:
        readme = experiment.path / "README.md"
        pages[readme] = page("experiment.md.j2", experiment=experiment)
    return pages


def write(root: str | Path) -> list[Path]:
    """Write all pages over a folder of results; see `build`."""
    pages = build(root)
    for path, text in pages.items():
        with whole_file(path) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="\n")
    return list(pages)
