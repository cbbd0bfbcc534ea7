"""Files that appear whole or not at all, and files that grow by whole pieces."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lrpot.errors import FileError, InputError

try:
    import fcntl
except ImportError:  # Windows has other locks: unfinished files are not looked for there
    fcntl = None

UNFINISHED = ".unfinished"
"""How the name of a file ends that is being written."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error.

    What processes that were killed have left behind of the same file is removed. What is not a
    file, such as `/dev/stdout`, is written to as it is.

    Raises:
        FileError: If the file system refuses, in the block too: a full disk, no permission.
    """
    path = Path(path)
    with _told(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(path)
        handle, temporary = _temporary(path)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(handle)


def try_folder(folder: Path, n_bytes: int = 0) -> None:
    """Make a folder if there is none, and try whether files of so many bytes can be written to it.

    Raises:
        FileError: If they cannot.
    """
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"lrpot")
        free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise FileError(
            f"There is no room in {folder}: {n_bytes / 1e6:.3g} MB are needed, {free / 1e6:.3g} MB "
            "are free. Make room, or take another folder."
        )


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of the file system with the path that they are about."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError):
            reason = f"{error.filename} is a file, not a folder"
        remedy = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Change that"
        raise FileError(f"Cannot write {path}: {reason}. {remedy}, or name another.") from error


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, locked as long as the handle is open: even a kill unlocks it."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
        # Before it was locked, another process may have taken it for one that was left behind.
        if _lock(handle) and Path(name).exists():
            return handle, Path(name)
        os.close(handle)


def _remove_unfinished(path: Path) -> None:
    """Remove what was left of `path` by processes that were killed: nobody has it locked."""
    if fcntl is None:
        return
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(UNFINISHED)}")
    for found in path.parent.iterdir():
        if not pattern.fullmatch(found.name):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(found, os.O_RDWR)
            try:
                if _lock(handle):
                    found.unlink()
            finally:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file unless another process has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return False
    return True


class GrowingFile:
    """A file that grows by whole pieces.

    Attributes:
        size: Length up to the last piece, in bytes.
    """

    def __init__(self, path: Path, size: int):
        """Open a file and forget what it holds beyond `size`."""
        self.path, self.size = path, size
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise InputError(
                f"{path} should have {size} bytes or more, but has {found}: it has been changed "
                "since it was written. Put it back, or start over."
            )
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self.cut(size)

    def append(self, piece: bytes) -> None:
        """Write one piece at the end; one that does not fit on the disk leaves nothing behind."""
        start, rest = self.size, memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self.cut(start)
            raise
        self.size = start + len(piece)

    def cut(self, size: int) -> None:
        """Forget what is beyond `size`."""
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def sync(self) -> None:
        """Have the disk hold what was written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
