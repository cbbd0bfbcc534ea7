"""Files that appear whole or not at all, and files that grow by whole pieces."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lrpot.errors import InputError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
