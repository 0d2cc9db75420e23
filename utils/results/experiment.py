"""Experiments as pages show them: what kind each is, and its files sorted by what they are."""

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from PIL import Image

from utils.results.record import AGAIN, RECORD, Record, records
from utils.results.tables import read_table, readable

TEMPLATES = Path(__file__).with_name("templates")


class Kind(NamedTuple):
    """A kind of experiment: its folders, and which of its figures come first."""

    key: str
    title: str
    notebook: str
    claim: str
    shows: str
    main: list[str]


_TEXTS = json.loads((TEMPLATES / "texts.json").read_text(encoding="utf-8"))
CLAIMS = _TEXTS["claims"]
KINDS = [Kind(**kind) for kind in _TEXTS["kinds"]]


class Experiment:
    """One folder with a ``run.json``, checked, and its files sorted by what they are."""

    def __init__(self, root: Path, path: Path, run: Record):
        self.path, self.run = path, run
        self.folder = self.path.relative_to(root).as_posix()
        top = self.folder.split("/")[0]
        kinds = [kind for kind in KINDS if kind.notebook == run.notebook]
        if not kinds:
            known = ", ".join(dict.fromkeys(kind.notebook for kind in KINDS))
            self._fail(RECORD, f"has the notebook {run.notebook!r}; expected {known}")
        self.kind = next((kind for kind in kinds if kind.key == top), kinds[0])
        self.backbone = run.backbone
        finetuned = ", finetuned" if top.endswith("_finetuned") else ""
        self.title = f"{self.kind.title}, {run.backbone_title}{finetuned}"
        executed = root / "notebooks" / self.backbone / run.notebook
        self.executed = executed.relative_to(root).as_posix() if executed.exists() else ""
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

    @property
    def short(self) -> str:
        """The line of the verdict that names the claim, else its first line."""
        verdicts = self.run.verdicts
        text = verdicts.get(self.kind.claim) or next(iter(verdicts.values()), "")
        lines = text.strip().splitlines() or [""]
        return next((line for line in lines if self.kind.claim in line), lines[0])

    def _images(self) -> list[dict[str, Any]]:
        """Return every main image, with its companion by role."""
        images, companions = {}, []
        for name, attributes in self.run.files.items():
            if not (self.path / name).is_file():
                self._fail(name, "is missing, but run.json lists it")
            if Path(name).suffix in (".png", ".jpg"):
                image = self._image(name, attributes)
                if "of" in attributes:
                    companions.append(image)
                else:
                    images[name] = image
        for image in companions:
            if image["of"] not in images:
                self._fail(RECORD, f"lists {image['name']} of {image['of']!r}, which is not listed")
            images[image["of"]][image["role"]] = image
        return list(images.values())

    def _image(self, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
        try:
            with Image.open(self.path / name) as picture:  # reads no more than the head
                width, height = picture.size
        except OSError as error:
            self._fail(name, f"is no image ({error})")
        image = {**attributes, "name": name, "width": width, "height": height}
        image["src"] = quote(f"{self.folder}/{name}")
        networks = attributes.get("network", [])
        image["networks"] = [networks] if isinstance(networks, str) else networks
        image["main"] = name in self.kind.main
        if "channel" in image:  # a card
            image |= {"group": image["layer"], "title": f"channel {image['channel']}"}
        elif "inset" in image:
            image["group"] = f"{image['class']}, {image['prediction']} predictions"
            known = "probability" in image
            image["title"] = f"p(tumor) = {image['probability']:.2f}" if known else name
        return image

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return cards by layer, or by class and whether the prediction is correct."""
        groups: dict[str, list] = {}
        for card in self.cards:
            groups.setdefault(card["group"], []).append(card)
        return groups

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
                rows = text.to_numpy().tolist()
                shown.append({"title": attributes["alt"], "source": name, "rows": rows})
                shown[-1]["header"] = list(text.columns)
        return shown


def find_experiments(root: Path) -> list[Experiment]:
    """Return all experiments: by kind, the paper's network first, and before finetuning first."""
    experiments = [Experiment(root, folder, record) for folder, record in records(root)]
    if not experiments:
        raise ValueError(
            f'{root} has no run.json; expected one per experiment. Run "make figures".'
        )
    experiments.sort(
        key=lambda e: (KINDS.index(e.kind), e.backbone != "inceptionv3", e.backbone, e.folder)
    )
    depth: dict[tuple[str, str], int] = {}  # the tables have the layers from input to output
    for experiment in [e for e in experiments if "channels.csv" in e.tables]:
        for layer in read_table(experiment.path / "channels.csv")["layer"]:
            depth.setdefault((experiment.backbone, layer), len(depth))
    for experiment in experiments:
        experiment.cards.sort(
            key=lambda card, e=experiment: depth.get((e.backbone, card["group"]), len(depth))
        )
    return experiments
