import os
from pathlib import Path

import pytest

from deploy.capture.table import append_row, is_torn, read_table, remove_row
from deploy.errors import DatasetError

ROW = {"file": "good/b.png", "group": "p2", "time": "now"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"file,group,time\n", b"file,group,time\ngood/b.png,p2,now\n", id="ours"),
        pytest.param(b"line,group,file\n1,p1,a.png\n", b"line,group,file\n1,p1,a.png\n,p2,good/b.png\n", id="other columns"),
        pytest.param(b"file,group\r\na,p1\r\n", b"file,group\r\na,p1\r\ngood/b.png,p2\r\n", id="Windows line ends"),
        pytest.param(b"\xef\xbb\xbffile,group\n", b"\xef\xbb\xbffile,group\ngood/b.png,p2\n", id="from a spreadsheet"),
    ],
)
def test_appending_fills_what_is_known_and_removing_restores(before: bytes, after: bytes, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(before)
    append_row(read_table(path), ROW)
    assert path.read_bytes() == after
    remove_row(read_table(path), "good/b.png")
    assert path.read_bytes() == before


def test_removing_keeps_what_someone_else_wrote_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,group\na,p1\n")
    table = read_table(path)
    path.write_text('file,group\na,p1\n"b, too",p2,more\n')
    remove_row(table, "a")
    assert path.read_text() == 'file,group\n"b, too",p2,more\n'


def test_a_line_that_does_not_reach_the_disk_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("file,group\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        append_row(read_table(path), ROW)
    assert path.read_text() == "file,group\n"


@pytest.mark.parametrize(("content", "torn"), [(b"", False), (b"file,group\n", False), (b"file,group\ngood/a", True)])
def test_a_torn_last_line_is_noticed(content: bytes, torn: bool, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(content)
    assert is_torn(path) == torn


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has the columns none; file, group is missing"),
        (b"file;group\n", "has the columns file;group; file, group is missing"),
        (b"file,part\n", "has the columns file, part; group is missing"),
        (b"file,group\n\xff\n", "not in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_table(path)
    assert path.read_bytes() == content
