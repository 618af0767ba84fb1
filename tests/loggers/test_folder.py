"""The folder of one monitor's files in one run, on this machine and where fsspec writes."""

from pathlib import Path

import fsspec
import pytest

from lightning_cam.loggers.folder import Folder, write

ROOTS = ["local", "memory://folder-of-a-test"]


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    url = str(tmp_path / "runs") if request.param == "local" else request.param
    yield url
    if request.param != "local":
        assert not list(tmp_path.iterdir()), "nothing on the local disk"
        fsspec.filesystem("memory").rm("/folder-of-a-test", recursive=True)


def content(path: str) -> bytes:
    with fsspec.open(path, "rb") as file:
        return file.read()


def test_a_file_and_the_folders_above_it(root: str) -> None:
    write(f"{root}/a/b/page.html", b"first")
    write(f"{root}/a/b/page.html", b"second")
    assert content(f"{root}/a/b/page.html") == b"second"


def test_files_of_two_runs_never_mix(root: str) -> None:
    for number, name in enumerate(["cam", "cam-v1", "cam-v2"]):
        folder = Folder(root, "cam")
        path = folder.write("overlay/epoch=000.jpg", f"run {number}".encode())
        assert path == f"{root}/{name}/overlay/epoch=000.jpg"
        assert folder.write("report.html", b"") == f"{root}/{name}/report.html"
    assert [content(f"{root}/{name}/overlay/epoch=000.jpg") for name in ("cam", "cam-v1", "cam-v2")] == [
        b"run 0",
        b"run 1",
        b"run 2",
    ]


def test_texts_follow_one_another(root: str) -> None:
    folder = Folder(root, "cam")
    for text in ("first", "Katze, 猫"):
        path = folder.append("findings.md", text)
    assert path == f"{root}/cam/findings.md"
    assert content(path).decode() == "first\n\nKatze, 猫\n\n"


def test_it_is_made_with_its_first_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "runs", "cam")
    assert not list(tmp_path.iterdir())
    folder.write("a.txt", b"")
    assert [path.name for path in (tmp_path / "runs" / "cam").iterdir()] == ["a.txt"]


def test_the_root_of_a_file_system() -> None:
    assert Folder("memory://", "cam-of-a-test").write("a.txt", b"x") == "memory://cam-of-a-test/a.txt"
    assert fsspec.filesystem("memory").cat("/cam-of-a-test/a.txt") == b"x"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError):
        Folder(tmp_path / "file", "cam").write("a.txt", b"")


def test_a_store_whose_package_is_missing() -> None:
    fsspec.register_implementation("elsewhere", "missing.Store", clobber=True, errtxt="Install missing")
    with pytest.raises(ImportError, match="Install missing"):
        Folder("elsewhere://bucket", "cam").write("a.txt", b"")
