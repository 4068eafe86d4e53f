"""Which pictures are kept, for how long, and that record and folder tell the same."""

from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.inspector.part import PartSoFar, View
from deploy.inspector.step import Step
from deploy.store import Place, Policy, Store, policy
from deploy.store.policy import Choice
from deploy.store.rows import Kept
from deploy.store.schema import connect
from deploy.verdict import Thresholds
from tests.deploy.store.feed import DEFECTIVE, GOOD, REVIEW, SESSION, fault, frame, picture, rows, step, wait_for

KEEP = Policy(good_every=5, floor_bytes=0)
COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
SIZE = len(cv2.imencode(".jpg", picture(1), [cv2.IMWRITE_JPEG_QUALITY, 95, *COLOUR])[1])


def files(store: Store) -> list[str]:
    folder = store.path.parent / "pictures"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def kept(store: Store) -> list[str]:
    return sorted(str(path) for (path,) in rows(store.path, "SELECT path FROM pictures WHERE gone IS NULL"))


def record(path: Path, policy: Policy, probabilities: list[float]) -> Store:
    store = Store(path / "store.sqlite", SESSION, policy)
    for number, probability in enumerate(probabilities, 1):
        store.add(step(number, probability, with_frame=True))
    store.close()
    return store


def test_all_defective_and_review_and_one_in_n_of_good(tmp_path: Path) -> None:
    store = record(tmp_path, KEEP, [GOOD, DEFECTIVE, GOOD, REVIEW] * 6)
    assert rows(store.path, "SELECT kind, count(*) FROM pictures GROUP BY kind") == [("defective", 6), ("good", 3), ("review", 6)]
    assert rows(store.path, "SELECT part FROM pictures JOIN parts USING (session, record) WHERE kind = 'good'") == [
        (1,),
        (11,),
        (21,),
    ]
    assert files(store) == kept(store)
    (day,) = {name[:10] for name in files(store)}
    assert f"{day}/part-000002-DEFECTIVE-s1-r2.jpg" in files(store)
    shown = cv2.imread(str(tmp_path / "pictures" / day / "part-000002-DEFECTIVE-s1-r2.jpg"))
    assert shown is not None
    assert abs(shown.astype(float) - picture(2)).mean() < 5  # noise, as JPEG leaves it, and not another part's
    assert (store.pictures_saved, store.pictures_dropped) == (15, 0)


def test_without_a_policy_no_picture_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    store.add(step(1, with_frame=True))
    store.close()
    assert files(store) == kept(store) == []


def test_no_good_ones_where_none_are_wanted(tmp_path: Path) -> None:
    assert files(record(tmp_path, replace(KEEP, good_every=0), [GOOD] * 5)) == []


def test_a_part_is_shown_where_it_looked_worst(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    example = step(1)
    seen = example.seen[0]
    part = PartSoFar(1, Thresholds(accept=0.3, reject=0.6))
    for number, probability in [(1, 0.7), (2, 0.95), (3, 0.8)]:
        view = View(number, f"frame {number}", 5.0, probability, None, None)
        part.add(view)
        store.add(Step(frame(number), seen=[replace(seen, view=view, so_far=part.result())]))
    store.add(Step(frame(4), parts=[part.result()]))
    store.close()
    assert rows(store.path, "SELECT frame, kind FROM pictures") == [(2, "defective")]


def test_frames_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Of a folder into which each picture is written under the same name."""
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    part = PartSoFar(1, Thresholds(accept=0.3, reject=0.6))
    for number, probability in [(1, 0.7), (2, 0.95), (3, 0.8)]:
        view = View(number, "newest.png", 5.0, probability, None, None)
        part.add(view)
        named = replace(frame(number), name="newest.png")
        store.add(Step(named, seen=[replace(step(1).seen[0], view=view, so_far=part.result())]))
    store.add(Step(frame(4), parts=[part.result()]))
    store.close()
    assert rows(store.path, "SELECT frame, kind FROM pictures") == [(2, "defective")]


def test_the_last_frames_before_a_fault_and_the_first_after_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, replace(KEEP, before_fault=3))
    for number in range(1, 8):
        store.add(Step(frame(number)))
    store.add(Step(faults=[fault(1)]))
    store.add(Step())
    store.add(Step(frame(8), recovered=fault(1, lasted_s=1.0)))
    store.add(Step(frame(9)))
    store.close()
    assert rows(
        store.path,
        "SELECT pictures.frame, pictures.kind, number FROM pictures JOIN faults USING (session, record) ORDER BY picture",
    ) == [
        (5, "before", 1),
        (6, "before", 1),
        (7, "before", 1),
        (8, "after", 1),
    ]
    assert any(name.endswith("/fault-000001-after-frame-000008-s1-r1.jpg") for name in files(store))


def test_a_fault_on_every_frame_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    for number in range(1, 50):
        store.add(Step(frame(number), faults=[fault(number, "engine")]))
    store.add(Step(frame(50)))
    monkeypatch.setattr(policy, "FAULT_EVERY_S", 0.0)
    store.add(Step(frame(51), faults=[fault(51, "engine")]))
    store.close()
    assert rows(store.path, "SELECT frame, kind FROM pictures ORDER BY picture") == [
        *[(1, "before"), (50, "after")],
        *[(number, "before") for number in range(47, 52)],
    ]


def test_frames_before_a_fault_are_bounded_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, replace(KEEP, held_bytes=2 * picture(1).nbytes))
    for number in range(1, 8):
        store.add(Step(frame(number)))
    store.add(Step(faults=[fault(1)]))
    store.close()
    assert rows(store.path, "SELECT frame FROM pictures ORDER BY picture") == [(6,), (7,)]


def test_what_is_held_is_bounded_in_bytes_whatever_the_cameras_regions_and_parts() -> None:
    one = picture(1).nbytes
    choice = Choice(replace(KEEP, held_bytes=12 * one))
    for number in range(1, 100):  # on a long belt, where many parts are in sight at once
        taken = frame(number)
        for camera in ("top", "side"):
            for region in ("left", "right"):
                choice.choose(replace(step(number), frame=taken, parts=[]), Place(camera, region), [], "")
    for watches in choice._at.values():
        held = {frame.sequence for watch in watches.values() for frame, _ in watch.worst.values()}
        assert held == set(range(94, 100))
    tight = Choice(replace(KEEP, held_bytes=1))
    shots, missed = tight.choose(step(1, DEFECTIVE, with_frame=True), Place(), [Kept(1, "parts", ())], "")
    assert ([shot.kind for shot in shots], missed) == (["defective"], 0)


def travelling(numbers: range, part: int, worst: int, name: str = "DEFECTIVE") -> list[Step]:
    """What a belt shows of one part; it has left in the last step. It looks worst in frame `worst`."""
    so_far, steps = PartSoFar(part, Thresholds(accept=0.3, reject=0.6)), []
    example = step(1).seen[0]
    highest = DEFECTIVE if name == "DEFECTIVE" else GOOD
    for number in numbers:
        view = View(number, f"frame {number}", 5.0, highest if number == worst else highest * 0.9, None, None)
        so_far.add(view)
        large = replace(frame(number), picture=LARGE)
        steps.append(Step(large, seen=[replace(example, part=part, view=view, so_far=so_far.result())]))
    return [*steps, Step(replace(frame(numbers.stop), picture=LARGE), parts=[so_far.result()])]


LARGE = np.zeros((1944, 2592, 3), np.uint8)
"""5 MP: three of them are all that is held by default."""


def test_a_large_part_that_travels_is_shown_where_it_looked_worst_however_long_that_is_ago() -> None:
    choice = Choice(Policy())
    for number, one in enumerate([*travelling(range(1, 20), 1, 10, "GOOD"), *travelling(range(21, 41), 2, 22)], 1):
        shots, missed = choice.choose(one, Place(), [Kept(number, "parts", ())], "")
        if one.parts:
            assert ([shot.frame.sequence for shot in shots], missed) == ([22 if number > 20 else 10], 0)


def test_of_what_there_is_no_room_for_parts_that_look_good_go_first_and_all_that_is_missed_is_counted() -> None:
    choice = Choice(Policy(good_every=1))
    together = [travelling(range(part, 20), part, part + 1, "GOOD" if part > 6 else "DEFECTIVE") for part in range(1, 9)]
    ending: list[tuple[int, list[int], int]] = []
    for number in range(1, 21):
        now = [steps[number - part] for part, steps in enumerate(together, 1) if part <= number]
        parts = [result for one in now for result in one.parts]
        merged = replace(now[0], seen=[seen for one in now for seen in one.seen], parts=parts)
        rows_ = [Kept(result.part, "parts", ()) for result in parts]
        shots, missed = choice.choose(merged, Place(), rows_, "")
        if parts:
            ending.append((len(parts), [shot.number for shot in shots], missed))
    assert ending == [(8, [4, 5, 6], 5)]


def test_a_picture_that_was_let_go_is_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, replace(KEEP, held_bytes=1))
    for one in (step(1), step(2)):
        store.add(replace(one, frame=frame(one.seen[0].view.frame), parts=[]))
    store.add(Step(parts=[*step(1).parts, *step(2).parts]))
    store.close()
    assert rows(store.path, "SELECT part FROM pictures JOIN parts USING (session, record)") == [(2,)]
    assert store.pictures_dropped == 1


def test_parts_that_never_count_are_let_go(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    for number in range(1, 100):
        store.add(replace(step(number, with_frame=True), parts=[]))
    assert store._choice is not None
    assert len(store._choice._at[""][Place()].worst) == policy.IN_SIGHT
    store.close()


def test_good_ones_make_room_first_then_the_oldest_others(tmp_path: Path) -> None:
    few = replace(KEEP, good_every=1, quota_bytes=round(6.5 * SIZE))
    store = record(tmp_path, few, [DEFECTIVE, GOOD, GOOD, REVIEW, GOOD, DEFECTIVE, DEFECTIVE, DEFECTIVE, DEFECTIVE, DEFECTIVE])
    left = rows(store.path, "SELECT part, kind FROM pictures JOIN parts USING (session, record) WHERE gone IS NULL ORDER BY part")
    assert left == [(4, "review"), (6, "defective"), (7, "defective"), (8, "defective"), (9, "defective"), (10, "defective")]
    assert rows(
        store.path, "SELECT part FROM pictures JOIN parts USING (session, record) WHERE gone = 'made room' ORDER BY part"
    ) == [
        (1,),
        (2,),
        (3,),
        (5,),
    ]
    assert files(store) == kept(store)


def test_a_good_one_pushes_out_no_defective_one(tmp_path: Path) -> None:
    store = record(tmp_path, replace(KEEP, good_every=1, quota_bytes=round(2.5 * SIZE)), [DEFECTIVE, DEFECTIVE, GOOD])
    assert Counter(kind for (kind,) in rows(store.path, "SELECT kind FROM pictures WHERE gone IS NULL")) == {"defective": 2}
    assert store.pictures_dropped == 1
    assert store.picture_trouble is None  # that is the policy, and no trouble
    assert rows(store.path, "SELECT count(*) FROM events") == [(0,)]


def test_a_floor_that_cannot_be_reached_removes_nothing(tmp_path: Path) -> None:
    record(tmp_path, KEEP, [DEFECTIVE] * 3)
    store = record(tmp_path, replace(KEEP, floor_bytes=10**18), [DEFECTIVE] * 2)
    assert len(files(store)) == 3
    assert store.pictures_dropped == 2
    assert "MB left free" in str(store.picture_trouble)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sampled_from([GOOD, REVIEW, DEFECTIVE]), max_size=25),
    st.floats(0.5, 8),
    st.integers(1, 4),
    st.integers(16, 90),
)
def test_never_more_than_the_quota_and_the_record_tells_the_truth(
    tmp_path_factory: pytest.TempPathFactory, probabilities: list[float], room: float, good_every: int, side: int
) -> None:
    quota = round(room * SIZE)
    folder = tmp_path_factory.mktemp("station")
    store = Store(folder / "store.sqlite", SESSION, Policy(good_every=good_every, floor_bytes=0, quota_bytes=quota))
    for number, probability in enumerate(probabilities, 1):
        store.add(replace(step(number, probability, with_frame=True), frame=frame(number, side if number % 2 else 64)))
    store.close()
    sizes = {path.relative_to(folder / "pictures").as_posix(): path.stat().st_size for path in folder.glob("pictures/*/*")}
    assert sum(sizes.values()) <= quota
    assert sizes == {row[0]: row[1] for row in rows(store.path, "SELECT path, bytes FROM pictures WHERE gone IS NULL")}
    (wanted,) = rows(
        store.path, f"SELECT sum(verdict != 'GOOD') + (sum(verdict = 'GOOD') + {good_every - 1}) / {good_every} FROM parts"
    )
    assert store.pictures_saved + store.pictures_dropped == (wanted[0] or 0)


def test_a_slow_disk_costs_pictures_good_ones_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = replace(KEEP, good_every=1, waiting_bytes=2 * picture(1).nbytes)
    store = Store(tmp_path / "store.sqlite", SESSION, two)
    with store._waiting.changed:  # the writer cannot take any of them
        for number, probability in enumerate([GOOD, DEFECTIVE, GOOD, DEFECTIVE, DEFECTIVE], 1):
            store.add(step(number, probability, with_frame=True))
        assert store.pictures_dropped == 3
    store.close()
    assert rows(store.path, "SELECT part FROM pictures JOIN parts USING (session, record) ORDER BY part") == [(2,), (4,)]


def test_pictures_that_somebody_deleted_are_noted(tmp_path: Path) -> None:
    store = record(tmp_path, KEEP, [DEFECTIVE] * 3)
    (tmp_path / "pictures" / files(store)[1]).unlink()
    store = record(tmp_path, KEEP, [])
    assert rows(store.path, "SELECT record, gone FROM pictures") == [(1, None), (2, "missing"), (3, None)]
    ((message,),) = rows(store.path, "SELECT message FROM events WHERE session = 2")
    assert str(message).startswith("1 pictures are no longer in ")


def test_pictures_on_a_disk_that_was_not_mounted_are_back_when_it_is(tmp_path: Path) -> None:
    store = record(tmp_path, KEEP, [DEFECTIVE] * 3)
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    record(tmp_path, KEEP, [])
    assert rows(store.path, "SELECT DISTINCT gone FROM pictures") == [("missing",)]
    (tmp_path / "elsewhere").rename(tmp_path / "pictures")
    record(tmp_path, KEEP, [])
    assert files(store) == kept(store)
    assert len(files(store)) == 3
    ((message,),) = rows(store.path, "SELECT message FROM events WHERE session = 3")
    assert str(message).startswith("3 pictures that were missing are back")


def test_what_a_kill_left_is_put_right(tmp_path: Path) -> None:
    store = record(tmp_path, KEEP, [DEFECTIVE] * 3)
    first, second, third = (tmp_path / "pictures" / name for name in files(store))
    first.rename(first.with_name(f"{first.name}.part"))  # its row was committed, its name was to come
    second.with_name("part-000009-GOOD-s1-r9.jpg.part").write_bytes(b"half")  # no row yet
    with closing(connect(store.path)) as database:
        database.execute("UPDATE pictures SET gone = 'made room' WHERE record = 3")  # its file is still there
    stranger = third.with_name("part-000001-GOOD-s77-r1.jpg")  # of a record that is no longer here
    stranger.write_bytes(b"not ours")
    store = record(tmp_path, KEEP, [])
    assert files(store) == sorted([*kept(store), stranger.relative_to(tmp_path / "pictures").as_posix()])
    assert first.is_file()
    assert not third.exists()
    notes = [str(message) for (message,) in rows(store.path, "SELECT message FROM events WHERE session = 2 ORDER BY record")]
    assert [note[:2] for note in notes] == ["1 ", "2 ", "1 "]


def test_a_picture_of_an_older_record_is_not_overwritten(tmp_path: Path) -> None:
    store = record(tmp_path, KEEP, [DEFECTIVE])
    before = (tmp_path / "pictures" / files(store)[0]).read_bytes()
    store.path.unlink()
    store = record(tmp_path, replace(KEEP, quality=50), [DEFECTIVE])
    assert len(files(store)) == 2
    assert before in [(tmp_path / "pictures" / name).read_bytes() for name in files(store)]


def test_a_picture_that_no_jpeg_holds_costs_itself_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    odd = replace(frame(1), picture=np.zeros((4, 70_000, 3), np.uint8))
    store.add(replace(step(1), frame=odd))
    store.add(step(2, with_frame=True))
    store.close()
    assert rows(store.path, "SELECT part FROM pictures JOIN parts USING (session, record)") == [(2,)]
    assert (store.pictures_dropped, store.trouble, store.picture_trouble) == (1, None, None)
    told = [str(message) for (message,) in rows(store.path, "SELECT message FROM events ORDER BY record")]
    assert "a picture of shape (4, 70000, 3) cannot be written as JPEG" in told[0]
    assert told[1] == "pictures are saved again; 1 were not"


def test_names_of_cameras_and_regions_are_in_the_file_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    store.add(step(1, with_frame=True), Place("press/../1", "left edge"))
    store.close()
    assert files(store)[0][11:] == "part-000001-DEFECTIVE-press_.._1-left_edge-s1-r1.jpg"


def test_pictures_come_while_the_station_runs(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    store.add(step(1, with_frame=True))
    wait_for(lambda: store.pictures_saved == 1)
    assert len(files(store)) == 1
    store.close()
