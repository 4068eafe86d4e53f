"""`inspector export-records`: every part once, as text and as Parquet, from a running station too."""

import csv
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import deploy
from deploy.errors import StationError
from deploy.store import Place, Policy, Store
from deploy.store.export import COLUMNS, export_records
from tests.deploy.store.feed import DEFECTIVE, GOOD, SESSION, fault, rows, step, wait_for
from tests.deploy.store.test_schema import VERSION_1

ROOT = Path(deploy.__file__).parents[1]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Two sessions of three parts; a defective one with a picture, one labelled."""
    path = tmp_path / "record" / "store.sqlite"
    for _ in range(2):
        store = Store(path, SESSION, Policy(good_every=0, floor_bytes=0))
        store.add(replace(step(1, GOOD), faults=[fault(1)]), Place("top", "left"))
        store.add(step(2, DEFECTIVE, with_frame=True))
        store.reload(replace(SESSION, version=2))
        odd = step(3, GOOD)
        store.add(replace(odd, parts=[replace(odd.parts[0], name='a "b", c\nd.png', at="2020-01-01T00:00:00.000+00:00")]))
        store.close()
    with closing(sqlite3.connect(path)) as database, database:
        feedback = [(2, 3, "good", None, "2026-01-01", "kim"), (2, 3, "defective", "crack", "2026-01-02", "lee")]
        database.executemany("INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?)", feedback)
        database.execute("UPDATE pictures SET gone = 'made room' WHERE session = 1")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_part_is_a_row(record: Path, tmp_path: Path) -> None:
    assert export_records(record.parent, tmp_path / "new" / "records.csv") == 6
    found = read(tmp_path / "new" / "records.csv")
    assert list(found[0]) == list(COLUMNS)
    keys = (
        "session",
        "record",
        "camera",
        "region",
        "part",
        "verdict",
        "version",
        "label",
        "defect_type",
        "person",
        "picture_gone",
    )
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("1", "1", "top", "left", "1", "GOOD", "1", "", "", "", ""),
        ("1", "3", "", "", "2", "DEFECTIVE", "1", "", "", "", "made room"),
        ("1", "4", "", "", "3", "GOOD", "2", "", "", "", ""),
        ("2", "1", "top", "left", "1", "GOOD", "1", "", "", "", ""),
        ("2", "3", "", "", "2", "DEFECTIVE", "1", "defective", "crack", "lee", ""),
        ("2", "4", "", "", "3", "GOOD", "2", "", "", "", ""),
    ]
    assert (record.parent / "pictures" / found[4]["picture"]).is_file()
    assert (found[0]["name"], found[5]["name"]) == ("frame 1", 'a "b", c\nd.png')
    assert (found[0]["probability"], found[0]["latency_ms"], found[0]["accept"]) == ("0.1", "6.0", "0.3")


@pytest.mark.parametrize(
    ("session", "since", "expected"),
    [
        pytest.param(2, None, [1, 2, 3], id="a session"),
        pytest.param(None, "2021-01-01", [1, 2, 1, 2], id="a day"),
        pytest.param(1, "2020-01-01T00:00:00Z", [1, 2, 3], id="the very moment"),
        pytest.param(1, "2020-01-01T01:00:00+01:00", [1, 2, 3], id="the same in another zone"),
        pytest.param(1, "2020-01-01T00:00:00.001", [1, 2], id="a millisecond later"),
        pytest.param(None, "2999-01-01", [], id="nothing"),
    ],
)
def test_a_session_or_a_time_is_picked(
    session: int | None, since: str | None, expected: list[int], record: Path, tmp_path: Path
) -> None:
    for ending in ("csv", "parquet"):
        if ending == "parquet":
            pytest.importorskip("pyarrow", reason="pip install 'line-inspector[records]'")
        assert export_records(record, tmp_path / f"r.{ending}", session, since) == len(expected)
    assert [int(row["part"]) for row in read(tmp_path / "r.csv")] == expected


def test_parquet_says_the_same_with_types(record: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'line-inspector[records]'")
    export_records(record, tmp_path / "r.csv")
    export_records(record, tmp_path / "r.parquet")
    table = parquet.read_table(tmp_path / "r.parquet")
    names = {int: "int64", float: "double", str: "string"}
    assert {field.name: str(field.type) for field in table.schema} == {name: names[kind] for name, kind in COLUMNS.items()}
    as_text = [{key: "" if value is None else str(value) for key, value in row.items()} for row in table.to_pylist()]
    assert as_text == read(tmp_path / "r.csv")


def test_a_running_station_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    store.add(step(1))
    wait_for(lambda: store.committed() == 1)
    assert export_records(tmp_path, tmp_path / "r.csv") == 1
    store.close()


def test_a_record_of_an_earlier_version_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    before = path.read_bytes()
    assert export_records(path, tmp_path / "r.csv") == 4
    assert path.read_bytes() == before
    assert [row["label"] for row in read(tmp_path / "r.csv")] == ["", "defective", "", ""]
    assert {file.name for file in tmp_path.iterdir()} == {"store.sqlite", "r.csv"}


def test_memory_does_not_grow_with_the_record(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'line-inspector[records]'")
    path = tmp_path / "store.sqlite"
    store = Store(path, SESSION)
    store.add(step(1))
    store.close()
    grown = {}
    code = (
        "import resource, sys; from pathlib import Path; from deploy.store.export import export_records\n"
        "export_records(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "Path(sys.argv[3]).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    for upto in (20_000, 100_000):
        with closing(sqlite3.connect(path)) as database, database:
            # Same columns, next records: a part's row again and again.
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT (SELECT max(record) FROM parts) + 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                "INSERT INTO parts SELECT session, i, camera, region, i, load, at, verdict, probability, views, faults, "
                "first_frame, last_frame, name || i, peak_x, peak_y, age_ms, latency_ms, reason "
                "FROM parts JOIN n WHERE record = 1",
                (upto,),
            )
        for ending in ("csv", "parquet"):
            arguments = [sys.executable, "-c", code, str(path), str(tmp_path / f"r.{ending}"), str(tmp_path / "rss")]
            subprocess.run(arguments, cwd=ROOT, check=True, timeout=120)
            grown[ending, upto] = int((tmp_path / "rss").read_text())
    for ending in ("csv", "parquet"):  # 80 000 rows more are some 100 MB of Python objects
        assert grown[ending, 100_000] - grown[ending, 20_000] < 30_000, grown
    assert rows(path, "SELECT count(*) FROM parts") == [(100_000,)]


@pytest.mark.parametrize(
    ("store", "out", "session", "since", "message"),
    [
        pytest.param("record", "r.xlsx", None, None, "found the ending .xlsx; expected .csv or .parquet", id="ending"),
        pytest.param("nowhere", "r.csv", None, None, "no record found; give a store.sqlite, or the folder", id="no record"),
        pytest.param("record", "r.csv", 9, None, "no session 9 was found; expected one of 1 to 2", id="session"),
        pytest.param("record", "r.csv", None, "yesterday", "--since yesterday: expected a date or time such as", id="since"),
        pytest.param("text.txt", "r.csv", None, None, "the record cannot be read (file is not a database)", id="no database"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    store: str, out: str, session: int | None, since: str | None, message: str, record: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("this is a text and no database at all, long enough to be taken for one" * 20)
    with pytest.raises(StationError) as caught:
        export_records(tmp_path / store, tmp_path / out, session, since)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("*r.*"))


def test_a_newer_record_is_refused(record: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(record)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StationError, match="schema version 99 was found"):
        export_records(record, tmp_path / "r.csv")


def test_without_pyarrow_the_way_to_get_it_is_told(record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StationError, match=r"pip install 'line-inspector\[records\]', or end --out in \.csv"):
        export_records(record, tmp_path / "r.parquet")
    assert not list(tmp_path.glob("*.parquet*"))


def test_an_export_that_fails_leaves_the_one_before(record: Path, tmp_path: Path) -> None:
    export_records(record, tmp_path / "r.csv")
    before = (tmp_path / "r.csv").read_bytes()
    with closing(sqlite3.connect(record)) as database, database:
        database.execute("DROP TABLE feedback")
    with pytest.raises(StationError, match="the record cannot be read"):
        export_records(record, tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"record", "r.csv"}


def test_a_record_is_not_overwritten_by_its_own_table(record: Path) -> None:
    own = record.rename(record.with_suffix(".csv"))
    with pytest.raises(StationError, match="this is the record itself"):
        export_records(own, own)


def test_the_command(record: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.cli", "export-records", str(record.parent), "--out", str(tmp_path / "r.csv")]
    done = subprocess.run([*command, "--session", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 parts in {tmp_path / 'r.csv'}\n"
    done = subprocess.run([*command, "--since", "noon"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --since noon: expected a date or time")
