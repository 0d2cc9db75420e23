"""Pages over the results: an HTML gallery, and a README in every folder, from the results alone."""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from utils.files import whole_file
from utils.results.experiment import CLAIMS, KINDS, TEMPLATES, Experiment, find_experiments


def _picture(image: dict[str, Any]) -> list[Any]:
    """Describe an image for the page by a list, since there are many."""
    picture = [image[key] for key in ("src", "alt", "width", "height")]
    if "inset" in image and "patch" in image:
        picture += [[round(share, 5) for share in image["inset"]], _picture(image["patch"])]
    return picture


def _sections(experiments: list[Experiment]) -> list[dict[str, Any]]:
    """Join the folders of one kind and backbone: the same channel is one card."""
    joined: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        joined.setdefault(f"{experiment.kind.key}-{experiment.backbone}", []).append(experiment)
    return [
        {
            "id": key,
            "first": members[0],
            "members": members,
            "figures": [image for member in members for image in member.figures],
            "verdicts": {k: v for member in members for k, v in member.run.verdicts.items()},
            "weights": {k: v for member in members for k, v in member.run.weights.items()},
            "cards": _cards([image for member in members for image in member.cards]),
        }
        for key, members in joined.items()
    ]


def _cards(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make cards, each with the same channel of all networks or with one overlay, by group."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for image in images:
        name = image["name"] if "inset" in image else str(image["channel"])
        card = {key: image[key] for key in ("group", "title", "layer", "class") if key in image}
        card = groups.setdefault(image["group"], {}).setdefault(name, card | {"parts": []})
        pictures = [_picture(one) for one in (image, image.get("patches")) if one]
        card["parts"].append({"network": image["networks"], "images": pictures})
    return [card for cards in groups.values() for card in cards.values()]


def _markdown(text: Any) -> str:
    """Escape markup of Markdown and HTML; an underscore inside a word is safe."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#+-](?= )|(?<=^\d)\.(?= ))", r"\\\1", text)


def build(root: str | Path) -> dict[Path, str]:
    """Make ``index.html``, ``README.md`` and the ``README.md`` of every experiment, as text."""
    root = Path(root)
    experiments = find_experiments(root)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
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
    titles |= {experiment.backbone: experiment.run.backbone_title for experiment in experiments}
    cards = [{"id": section["id"], "cards": section["cards"]} for section in sections]
    commits = dict.fromkeys(e.run.commit for e in experiments if e.run.commit)
    given = {"claims": CLAIMS, "experiments": experiments, "sections": sections}
    given |= {"commits": list(commits), "data": {"titles": titles, "sections": cards}}
    pages = {}
    for name, template in {"index.html": "index.html.j2", "README.md": "results.md.j2"}.items():
        pages[root / name] = environment.get_template(template).render(given)
    for experiment in experiments:
        pages[experiment.path / "README.md"] = environment.get_template("experiment.md.j2").render(
            given,
            experiment=experiment,
            run=experiment.run,
            up="../" * (experiment.folder.count("/") + 1),
            tables=experiment.shown_tables(),
        )
    return pages


def write(root: str | Path) -> list[Path]:
    """Write all pages over a folder of results; see `build`."""
    pages = build(root)
    for path, text in pages.items():
        with whole_file(path) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="\n")
    return list(pages)
