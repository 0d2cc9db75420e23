"""Experiments as pages show them: what kind each is, and its files sorted by what they are."""

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from PIL import Image

from utils.results.record import AGAIN, RECORD, Record, records
from utils.results.tables import read_table

TEMPLATES = Path(__file__).with_name("templates")


class Kind(NamedTuple):
    """A kind of experiment: which folders are of it, and which of its figures come first."""

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
    """One folder with a ``run.json``, checked, and its files sorted by what they are.

    Parameters
    ----------
    root : Path
        Folder of all results.
    path : Path
        Folder of the experiment.
    run : Record
    """

    def __init__(self, root: Path, path: Path, run: Record):
        self.path, self.run = path, run
        self.folder = self.path.relative_to(root).as_posix()
        top = self.folder.split("/")[0]
        kinds = [kind for kind in KINDS if kind.notebook == run.notebook]
        if not kinds:
            known = ", ".join(dict.fromkeys(kind.notebook for kind in KINDS))
            raise ValueError(
                f"{path / RECORD}: notebook is {run.notebook!r}; expected {known}. {AGAIN}"
            )
        self.kind = next((kind for kind in kinds if kind.key == top), kinds[0])
        self.backbone = run.backbone
        self.title = f"{self.kind.title}, {run.backbone_title}"
        if top.endswith("_finetuned"):
            self.title += ", finetuned"
        executed = root / "notebooks" / self.backbone / run.notebook
        self.executed = executed.relative_to(root).as_posix() if executed.exists() else ""
        self.tables = [name for name in run.files if name.endswith(".csv")]
        self.figures, self.pages, self.cards = [], {}, []
        for image in self._images():
            if "channel" in image or "inset" in image:
                self.cards.append(_name_card(image))
            else:
                self.figures.append(image)
        drawn = {card["layer"] for card in self.cards if "channel" in card}
        for image in [image for image in self.figures if Path(image["name"]).stem in drawn]:
            self.pages[Path(image["name"]).stem] = image
            self.figures.remove(image)
        main = self.kind.main
        self.figures.sort(key=lambda i: main.index(i["name"]) if i["main"] else len(main))

    @property
    def short(self) -> str:
        """The line of the verdict that names the claim, else its first line."""
        verdicts = self.run.verdicts
        text = verdicts.get(self.kind.claim) or next(iter(verdicts.values()), "")
        lines = text.strip().splitlines() or [""]
        return next((line for line in lines if self.kind.claim in line), lines[0])

    def _images(self) -> list[dict[str, Any]]:
        """Every image that is not a companion, with its companion by role."""
        images, companions = {}, []
        for name, attributes in self.run.files.items():
            if not (self.path / name).is_file():
                found = "is missing, but run.json lists it"
                raise ValueError(f"{self.path / name} {found}. {AGAIN}")
            if Path(name).suffix not in (".png", ".jpg"):
                continue
            try:
                with Image.open(self.path / name) as picture:  # reads no more than the head
                    width, height = picture.size
            except OSError as error:
                raise ValueError(f"{self.path / name} is no image ({error}). {AGAIN}") from error
            image = {**attributes, "name": name, "width": width, "height": height}
            image["src"] = quote(f"{self.folder}/{name}")
            image["networks"] = _as_list(attributes.get("network"))
            image["main"] = name in self.kind.main
            if "of" in attributes:
                companions.append(image)
            else:
                images[name] = image
        for image in companions:
            if image["of"] not in images:
                found = f"{image['name']} accompanies {image['of']!r}, which is no image of it"
                raise ValueError(f"{self.path / RECORD}: {found}. {AGAIN}")
            images[image["of"]][image["role"]] = image
        return list(images.values())

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """Cards by layer, or by class and whether the prediction is correct."""
        groups: dict[str, list] = {}
        for card in self.cards:
            groups.setdefault(card["group"], []).append(card)
        return groups


def _name_card(image: dict[str, Any]) -> dict[str, Any]:
    """Say what an image is called on its card, and under which heading it stands."""
    if "channel" in image:
        return {**image, "group": image["layer"], "title": f"channel {image['channel']}"}
    title = f"p(tumor) = {image['probability']:.2f}" if "probability" in image else image["name"]
    return {
        **image,
        "group": f"{image['class']}, {image['prediction']} predictions",
        "title": title,
    }


def _as_list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def find_experiments(root: Path) -> list[Experiment]:
    """All experiments: by kind, the paper's network first, and before finetuning first."""
    found = [Experiment(root, folder, record) for folder, record in records(root)]
    if not found:
        raise ValueError(
            f'{root} has no run.json; expected one per experiment. Run "make figures".'
        )
    first = {"inceptionv3": ""}
    found.sort(key=lambda e: (KINDS.index(e.kind), first.get(e.backbone, e.backbone), e.folder))
    depth: dict[tuple[str, str], int] = {}  # the tables have the layers from input to output
    for experiment in [experiment for experiment in found if "channels.csv" in experiment.tables]:
        for layer in read_table(experiment.path / "channels.csv")["layer"]:
            depth.setdefault((experiment.backbone, layer), len(depth))
    for experiment in found:
        experiment.cards.sort(
            key=lambda card, e=experiment: depth.get((e.backbone, card["group"]), len(depth))
        )
    return found
