"""The folder of one monitor's files in one run: on this machine, or wherever fsspec writes."""

from itertools import count
from pathlib import Path

from fsspec.core import url_to_fs


def write(path: str | Path, content: bytes) -> None:
    """Writes a file, and the folders above it.

    Args:
        path: On this machine, or a URL that fsspec knows, such as "s3://bucket/runs/report.html".

    Raises:
        OSError: The file cannot be written.
        ImportError: The URL needs a package that is not installed; the message names it.
    """
    system, place = url_to_fs(str(path))
    above = place.rpartition("/")[0]
    if above:
        system.makedirs(above, exist_ok=True)
    system.pipe_file(place, content)


class Folder:
    """``<directory>/<name>``, or ``<name>-v1``, ``<name>-v2`` ... where that is there already, as
    ``ModelCheckpoint`` names its files: those of two runs never mix. It is made with its first file.

    Args:
        directory: A path, or a URL that fsspec knows, such as "s3://bucket/runs".
        name: The monitor's.

    Example:
        >>> first, second = Folder("memory://runs", "cam"), Folder("memory://runs", "cam")
        >>> first.write("report.html", b"<html>"), second.write("report.html", b"<html>")
        ('memory://runs/cam/report.html', 'memory://runs/cam-v1/report.html')
    """

    def __init__(self, directory: str | Path, name: str) -> None:
        self._directory, self._name = str(directory), name
        self._path: str | None = None  # once it is made

    @property
    def path(self) -> str:
        """Where it is; made when first asked for.

        Raises:
            OSError: It cannot be made.
            ImportError: As ``write``.
        """
        if self._path is None:
            self._path = self._made()
        return self._path

    def write(self, name: str, content: bytes) -> str:
        """Writes ``<folder>/<name>``; returns its path."""
        path = f"{self.path}/{name}"
        write(path, content)
        return path

    def append(self, name: str, text: str) -> str:
        """Appends a paragraph to ``<folder>/<name>``; returns its path."""
        system, place = url_to_fs(f"{self.path}/{name}")
        # Read and written as a whole: object stores cannot append.
        before = system.cat_file(place) if system.exists(place) else b""
        return self.write(name, before + f"{text}\n\n".encode())

    def _made(self) -> str:
        names = (self._name if number == 0 else f"{self._name}-v{number}" for number in count())
        above = self._directory if self._directory.endswith("/") else f"{self._directory}/"
        return next(path for name in names if _is_new(path := f"{above}{name}"))


def _is_new(path: str) -> bool:
    """Whether there was no such folder until now, where it is made."""
    system, place = url_to_fs(path)
    if system.exists(place):
        return False
    try:
        system.makedirs(place, exist_ok=False)
    except FileExistsError:  # another process was faster
        return False
    return True
