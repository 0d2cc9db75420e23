"""Atomic writing: scratch files that become results, and clear errors when the disk is full."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a scratch path, which becomes `path` at the end; on an error the old file stays.

    Scratch files of killed processes for the same path are removed.
    """
    path = Path(path)
    with disk_space(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stray in path.parent.glob(f".*~{path.name}"):
            if is_abandoned(stray):
                stray.unlink(missing_ok=True)
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
        if error.errno not in _NO_SPACE:
            raise
        reason = os.strerror(error.errno)
        raise OSError(
            error.errno,
            f"{path} cannot be written ({reason}): free some space and run again. Earlier results "
            "are unchanged, and finished steps of this run are kept",
        ) from error


def file_sha256(path: str | Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def scratch_prefix() -> str:
    """Return how the names of this process' scratch files and folders begin."""
    return f".{socket.gethostname()}~{os.getpid()}~"


def is_abandoned(scratch: Path) -> bool:
    """Whether the process of this host that made a scratch file or folder has ended."""
    host, process, *_ = [*scratch.name[1:].split("~"), ""]
    if host == socket.gethostname() and process.isdecimal():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, and alive
            pass
    return False
