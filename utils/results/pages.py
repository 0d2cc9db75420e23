"""Pages over the results: an HTML gallery, and a README in every folder, from the results alone."""

import html
import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from PIL import Image

from utils.files import whole_file
from utils.results.tables import AGAIN, read_table, tables

_KEYS = {
    **dict.fromkeys(["notebook", "backbone", "backbone_title", "code_sha256", "finished"], str),
    **dict.fromkeys(["parameters", "weights", "data", "versions", "verdicts", "files"], dict),
    "duration_seconds": (int, float),
}
_TEMPLATES = Path(__file__).with_name("templates")
# What else there is with a key of run.json, or with an attribute of a file.
_WITH = {
    "data": ("origin", "patches", "groups"),
    "of": ("role",),
    "channel": ("layer",),
    "inset": ("class", "prediction"),
}


class Kind(NamedTuple):
    """A kind of experiment: which folders are of it, and which of its figures come first."""

    key: str
    title: str
    notebook: str
    claim: str
    shows: str
    main: list[str]


_TEXTS = json.loads((_TEMPLATES / "texts.json").read_text(encoding="utf-8"))
CLAIMS = _TEXTS["claims"]
KINDS = [Kind(**kind) for kind in _TEXTS["kinds"]]


class Experiment:
    """One folder with a ``run.json``, checked, and its files sorted by what they are.

    Parameters
    ----------
    root : Path
        Folder of all results.
    path : Path
        The ``run.json``.
    """

    def __init__(self, root: Path, path: Path):
        self.path = path.parent
        self.folder = self.path.relative_to(root).as_posix()
        self.run = run = _read(path)
        top = self.folder.split("/")[0]
        kinds = [kind for kind in KINDS if kind.notebook == run["notebook"]]
        if not kinds:
            known = ", ".join(dict.fromkeys(kind.notebook for kind in KINDS))
            raise ValueError(f"{path}: notebook is {run['notebook']!r}; expected {known}. {AGAIN}")
        self.kind = next((kind for kind in kinds if kind.key == top), kinds[0])
        self.backbone = run["backbone"]
        self.title = f"{self.kind.title}, {run['backbone_title']}"
        if top.endswith("_finetuned"):
            self.title += ", finetuned"
        executed = root / "notebooks" / self.backbone / run["notebook"]
        self.executed = executed.relative_to(root).as_posix() if executed.exists() else ""
        self.tables = [name for name in run["files"] if name.endswith(".csv")]
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
        verdicts = self.run["verdicts"]
        text = verdicts.get(self.kind.claim) or next(iter(verdicts.values()), "")
        lines = text.strip().splitlines() or [""]
        return next((line for line in lines if self.kind.claim in line), lines[0])

    def _images(self) -> list[dict[str, Any]]:
        """Every image that is not a companion, with its companion by role."""
        path, images, companions = self.path / "run.json", {}, []
        for name, attributes in self.run["files"].items():
            _check(path, name, attributes, "alt")
            for key in _WITH.keys() & attributes.keys():
                _check(path, name, attributes, *_WITH[key])
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
                raise ValueError(f"{path}: {found}. {AGAIN}")
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


def _check(path: Path, name: str, found: Any, *keys: str) -> None:
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            what = f"{path} has {str(found)[:60]} for {name!r}; expected a dictionary with {key!r}"
            raise ValueError(f"{what}. {AGAIN}")


def _read(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). {AGAIN}") from error
    for key, kind in _KEYS.items():
        if not isinstance(run, dict) or not isinstance(run.get(key), kind):
            found = repr(run[key])[:60] if isinstance(run, dict) and key in run else "nothing"
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"{path} has {found} for {key!r}; expected {names}. {AGAIN}")
    _check(path, "data", run["data"], *_WITH["data"])
    for name, weights in run["weights"].items():
        _check(path, f"weights, {name}", weights, "origin")
    return run


def _experiments(root: Path) -> list[Experiment]:
    """All experiments: by kind, the paper's network first, and before finetuning first."""
    found = [Experiment(root, path) for path in root.glob("*/**/run.json")]
    if not found:
        raise ValueError(f'{root} has no run.json; expected one an experiment. Run "make figures".')
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


def _picture(image: dict[str, Any]) -> list[Any]:
    """Give an image to the page as a list, since there are many."""
    picture = [image[key] for key in ("src", "alt", "width", "height")]
    if "inset" in image and "patch" in image:
        picture += [[round(share, 5) for share in image["inset"]], _picture(image["patch"])]
    return picture


def _sections(experiments: list[Experiment]) -> list[dict[str, Any]]:
    """Join the folders of one kind and backbone: the same channel is one card."""
    joined: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        key = f"{experiment.kind.key}-{experiment.backbone}"
        joined.setdefault(key, []).append(experiment)
    sections = []
    for key, members in joined.items():
        groups: dict[str, dict[str, dict[str, Any]]] = {}
        for image in [card for member in members for card in member.cards]:
            pictures = [_picture(one) for one in (image, image.get("patches")) if one]
            name = image["name"] if "inset" in image else str(image["channel"])
            card = {key: image[key] for key in ("group", "title", "layer", "class") if key in image}
            card = groups.setdefault(image["group"], {}).setdefault(name, card)
            part = {"network": image["networks"], "images": pictures}
            card.setdefault("parts", []).append(part)
        sections.append(
            {
                "id": key,
                "first": members[0],
                "members": members,
                "figures": [image for member in members for image in member.figures],
                "verdicts": {k: v for m in members for k, v in m.run["verdicts"].items()},
                "weights": {k: v for m in members for k, v in m.run["weights"].items()},
                "cards": [card for cards in groups.values() for card in cards.values()],
            }
        )
    return sections


def _markdown(text: Any) -> str:
    """Escape what Markdown or HTML would take for markup; an underscore inside a word is safe."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#+-](?= )|(?<=^\d)\.(?= ))", r"\\\1", text)


def build(root: str | Path) -> dict[Path, str]:
    """Make all pages over a folder of results, without writing them.

    Parameters
    ----------
    root : str or Path
        Folder of all results.

    Returns
    -------
    dict of Path to str
        ``index.html``, ``README.md`` and the ``README.md`` of every experiment.

    Raises
    ------
    ValueError
        If there is no ``run.json``, or one that cannot be understood.
    """
    root = Path(root)
    experiments = _experiments(root)
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
    sections = _sections(experiments)
    titles = {kind.key: kind.title for kind in KINDS}
    titles |= {experiment.backbone: experiment.run["backbone_title"] for experiment in experiments}
    cards = [{"id": section["id"], "cards": section["cards"]} for section in sections]
    given = {"claims": CLAIMS, "experiments": experiments, "sections": sections}
    given["data"] = {"titles": titles, "sections": cards}
    pages = {}
    for name, template in {"index.html": "index.html.j2", "README.md": "results.md.j2"}.items():
        pages[root / name] = environment.get_template(template).render(given)
    for experiment in experiments:
        pages[experiment.path / "README.md"] = environment.get_template("experiment.md.j2").render(
            given,
            experiment=experiment,
            run=experiment.run,
            up="../" * (experiment.folder.count("/") + 1),
            tables=tables(experiment.path, experiment.tables),
        )
    return pages


def write(root: str | Path) -> list[Path]:
    """Write all pages over a folder of results; see `build`."""
    pages = build(root)
    for path, text in pages.items():
        with whole_file(path) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="\n")
    return list(pages)
