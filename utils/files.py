"""Atomic writing: scratch files that become results, and clear errors when the disk is full."""

import errno
import functools
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a scratch path, which becomes `path` at the end; on an error the old file stays."""
    path = Path(path)
    with disk_space(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, path.name)
        scratch = path.with_name(scratch_prefix() + path.name)
        try:
            yield scratch
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def disk_space(path: str | Path) -> Iterator[None]:
    """Add to the OSError of a full disk what it means and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        text = (
            f"{path} cannot be written ({os.strerror(error.errno)}): free some space and run "
            "again. Earlier results are unchanged, and finished steps of this run are kept"
        )
        raise OSError(error.errno, text) from error


def file_sha256(path: str | Path) -> str:
    """Hash a file, which is read anew only if its size or time has changed."""
    stat = os.stat(path)
    return _hash_file(str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash_file(path: str, size: int, time: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def scratch_prefix() -> str:
    """Return how the names of this process' scratch files and folders begin."""
    return f".{socket.gethostname()}~{os.getpid()}~"


def remove_abandoned(folder: Path, name: str = "*") -> None:
    """Remove scratch files and folders for a name which killed processes of this host left."""
    for scratch in folder.glob(f".{socket.gethostname()}~*~{name}"):
        try:
            os.kill(int(scratch.name.split("~")[1]), 0)
        except ProcessLookupError:
            if scratch.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
            else:
                scratch.unlink(missing_ok=True)
        except PermissionError:  # somebody else's, and alive
            pass
