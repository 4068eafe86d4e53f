import pytest

from deploy.capture.keys import Command, find, keys_for, parse_types, typed


@pytest.mark.parametrize(
    ("pressed", "does"),
    [
        ("g", "good"),
        ("G", "good"),
        ("d", "defective/defective"),
        ("1", "defective/scratch"),
        ("2", "defective/dent"),
        ("3", None),
        ("n", Command.NEXT),
        ("u", Command.UNDO),
        ("s", Command.SKIP),
        ("q", Command.END),
        ("\x1b", Command.END),
        ("\x04", Command.END),
        ("x", None),
    ],
)
def test_each_key_has_one_meaning(pressed: str, does: str | Command | None) -> None:
    key = find(keys_for(("scratch", "dent"), steps=True), pressed)
    assert (key.does if key else None) == does


def test_a_live_picture_is_not_skipped() -> None:
    assert find(keys_for((), steps=False), "s") is None


@pytest.mark.parametrize(
    ("text", "types"),
    [("scratch", ("scratch",)), ("scratch, dent", ("scratch", "dent")), ("oil spot,Öl-1.a", ("oil spot", "Öl-1.a"))],
)
def test_types(text: str, types: tuple[str, ...]) -> None:
    assert parse_types(text) == types


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be a defect type"),
        ("scratch,", "'' cannot be a defect type"),
        ("../up", "cannot be a defect type"),
        ("a/b", "cannot be a defect type"),
        (".hidden", "cannot be a defect type"),
        ("Good", "the key g is for good pictures"),
        ("dent,Dent", "the same type twice"),
        (",".join("abcdefghij"), "found 10 types; at most 9"),
    ],
)
def test_types_that_cannot_be_folders_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_types(text)


@pytest.mark.parametrize(
    ("chunk", "keys"),
    [
        ("g", ["g"]),
        ("g g\nn", ["g", "g", "n"]),
        ("\x1b", ["\x1b"]),
        ("\x1b[D", []),  # left arrow
        ("\x1bOP", []),  # F1
        ("\x1b[1;5Cg", ["g"]),
        ("\x1bg", []),  # Alt-g
    ],
)
def test_arrows_are_no_escape(chunk: str, keys: list[str]) -> None:
    assert typed(chunk) == keys
