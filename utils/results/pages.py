"""Pages over the results: an HTML gallery, and a README in every folder, from the results alone."""

import html
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import jinja2
from PIL import Image

from utils.files import whole_file
from utils.results.record import AGAIN, RECORD, Record, records
from utils.results.tables import read_table, readable

_TEMPLATES = Path(__file__).with_name("templates")
_TEXTS = json.loads((_TEMPLATES / "texts.json").read_text(encoding="utf-8"))
_KINDS = [SimpleNamespace(**kind) for kind in _TEXTS["kinds"]]


class Experiment:
    """One folder with a ``run.json``, checked, and its files sorted by what they are."""

    def __init__(self, root: Path, path: Path, run: Record):
        self.path, self.run = path, run
        self.folder = self.path.relative_to(root).as_posix()
        top = self.folder.split("/")[0]
        kinds = [kind for kind in _KINDS if kind.notebook == run.notebook]
        if not kinds:
            known = ", ".join(dict.fromkeys(kind.notebook for kind in _KINDS))
            self._fail(RECORD, f"has the notebook {run.notebook!r}; expected {known}")
        self.kind = next((kind for kind in kinds if kind.key == top), kinds[0])
        finetuned = ", finetuned" if top.endswith("_finetuned") else ""
        self.title = f"{self.kind.title}, {run.backbone_title}{finetuned}"
        executed = f"notebooks/{run.backbone}/{run.notebook}"
        self.executed = executed if (root / executed).exists() else ""
        self.tables = [name for name in run.files if name.endswith(".csv")]
        images = self._images()
        self.cards = [image for image in images if "title" in image]
        layers = {card["layer"] for card in self.cards if "channel" in card}
        self.pages = {Path(i["name"]).stem: i for i in images if Path(i["name"]).stem in layers}
        self.figures = [i for i in images if "title" not in i and i not in self.pages.values()]
        main = self.kind.main
        self.figures.sort(key=lambda i: main.index(i["name"]) if i["main"] else len(main))

    def _fail(self, name: str, problem: str) -> None:
        raise ValueError(f"{self.path / name} {problem}. {AGAIN}")

    def _images(self) -> list[dict[str, Any]]:
        """Return every main image, with its companion by role."""
        for name in self.run.files:
            if not (self.path / name).is_file():
                self._fail(name, "is missing, but run.json lists it")
        names = [name for name in self.run.files if name.endswith((".png", ".jpg"))]
        images = {name: self._image(name, self.run.files[name]) for name in names}
        for name, image in images.items():
            if "of" in image:
                if image["of"] not in images:
                    self._fail(RECORD, f"lists {name} of {image['of']!r}, which is not listed")
                images[image["of"]][image["role"]] = image
        return [image for image in images.values() if "of" not in image]

    def _image(self, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
        try:
            with Image.open(self.path / name) as picture:  # reads no more than the head
                width, height = picture.size
        except OSError as error:
            self._fail(name, f"is no image ({error})")
        image = {**attributes, "name": name, "width": width, "height": height}
        image |= {"src": quote(f"{self.folder}/{name}"), "main": name in self.kind.main}
        networks = attributes.get("network", [])
        image["networks"] = [networks] if isinstance(networks, str) else networks
        if "channel" in image:  # a card
            image |= {"group": image["layer"], "title": f"channel {image['channel']}"}
        elif "inset" in image:
            image["group"] = f"{image['class']}, {image['prediction']} predictions"
            known = "probability" in image
            image["title"] = f"p(tumor) = {image['probability']:.2f}" if known else name
        return image

    def shown_tables(self) -> list[dict[str, Any]]:
        """Return the tables that the notebook shows, as text in the same layout."""
        shown = []
        for name in self.tables:
            attributes = self.run.files[name]
            if "layout" in attributes:
                table = read_table(self.path / name)
                try:
                    text = readable(table, **attributes["layout"])
                except KeyError as error:
                    self._fail(name, f"has columns {list(table)}; expected {error} too")
                table = {"source": name, "title": attributes["alt"], "header": list(text.columns)}
                shown.append(table | {"rows": text.to_numpy().tolist()})
        return shown


def _find_experiments(root: Path) -> list[Experiment]:
    """Return all experiments: by kind, the paper's network first, and before finetuning first."""
    experiments = [Experiment(root, folder, record) for folder, record in records(root)]
    if not experiments:
        raise ValueError(
            f'{root} has no run.json; expected one per experiment. Run "make figures".'
        )
    experiments.sort(
        key=lambda e: (
            _KINDS.index(e.kind),
            e.run.backbone != "inceptionv3",
            e.run.backbone,
            e.folder,
        )
    )
    layers: dict[tuple[str, str], None] = {}  # the tables have them from input to output
    for experiment in experiments:
        if "channels.csv" in experiment.tables:
            table = read_table(experiment.path / "channels.csv")
            layers |= dict.fromkeys((experiment.run.backbone, name) for name in table["layer"])
    depth = {key: place for place, key in enumerate(layers)}
    for e in experiments:
        places = {c["group"]: depth.get((e.run.backbone, c["group"]), len(depth)) for c in e.cards}
        e.cards.sort(key=lambda card, places=places: places[card["group"]])
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


def build(root: str | Path) -> dict[Path, str]:
    """Make ``index.html``, ``README.md`` and the ``README.md`` of every experiment, as text."""
    root = Path(root)
    experiments = _find_experiments(root)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": _markdown, "url": quote, "json": json.dumps}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    sections: dict[str, list[Experiment]] = {}  # the folders of one kind and backbone, of one run
    for experiment in experiments:
        key = f"{experiment.kind.key}-{experiment.run.backbone}"
        sections.setdefault(key, []).append(experiment)
    cards = {key: [card for e in members for card in e.cards] for key, members in sections.items()}
    titles = {kind.key: kind.title for kind in _KINDS}
    titles |= {experiment.run.backbone: experiment.run.backbone_title for experiment in experiments}
    data = [{"id": key, "cards": _cards(images)} for key, images in cards.items()]
    given = {"claims": _TEXTS["claims"], "experiments": experiments, "sections": sections}
    given["data"] = {"titles": titles, "sections": data}
    pages = {root / "index.html": ("index.html.j2", None)}
    pages[root / "README.md"] = "results.md.j2", None
    for experiment in experiments:
        pages[experiment.path / "README.md"] = "experiment.md.j2", experiment
    return {
        path: environment.get_template(template).render(given, experiment=experiment)
        for path, (template, experiment) in pages.items()
    }


def write(root: str | Path) -> list[Path]:
    """Write all pages over a folder of results; see `build`."""
    pages = build(root)
    for path, text in pages.items():
        with whole_file(path) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="\n")
    return list(pages)
