"""A bundle someone was at is refused with its reason, and never with a traceback: with the lab's signature, and with another."""

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy import bundle as door
from deploy.bundle import Bundle, load_bundle, sha256_of
from deploy.bundle_spec import Signature
from deploy.errors import BundleError, SignatureError

PAPERS = ("bundle.json", "signature")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

Spec = dict[str, Any]
Change = Callable[[Spec], object]


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / "copy"))


def seal(path: Path, raw: bytes) -> None:
    """Sign whatever is to be the manifest: an attacker has a key too, and a station without a trusted key takes it."""
    (path / "bundle.json").write_bytes(raw)
    (path / "signature").write_bytes(Signature(public_key=PUBLIC, signature=KEY.sign(raw).hex()).content())


def reseal(path: Path, change: Change = lambda spec: None) -> None:
    """Hash the files that lie there now, change the manifest, sign it."""
    spec = json.loads((path / "bundle.json").read_bytes())
    spec["files"] = {name: sha256_of(path / name) for name in spec["files"]}
    change(spec)
    seal(path, json.dumps(spec).encode())


def refusal(path: Path, trusted_key: str | None = None) -> BundleError:
    with pytest.raises(BundleError) as caught:
        load_bundle(path, trusted_key)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()
    return caught.value


# --- what the lab signed, changed on its way -------------------------------------------------------------------------------


def test_one_changed_byte_anywhere_is_refused_and_its_file_named(copy: Path) -> None:
    rng = random.Random(0)
    files = sorted(copy.iterdir())
    for step in range(200):
        file = files[step % len(files)]
        whole = file.read_bytes()
        at = rng.randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ rng.randrange(1, 256)]) + whole[at + 1 :])
        error = refusal(copy)
        assert ("bundle.json" if file.name in PAPERS else file.name) in str(error), (file.name, at)
        assert "changed after export" in str(error), (file.name, at)
        assert isinstance(error, SignatureError) == (file.name in PAPERS)
        file.write_bytes(whole)
    load_bundle(copy)


def test_every_byte_of_the_signature_counts_even_blanks_and_capitals(copy: Path) -> None:
    reseal(copy)  # indented, as export writes it
    whole = (copy / "signature").read_bytes()
    for at, byte in enumerate(whole):
        changed = bytes([byte]).swapcase() if chr(byte).isalpha() else b"\t" if chr(byte).isspace() else bytes([byte ^ 1])
        (copy / "signature").write_bytes(whole[:at] + changed + whole[at + 1 :])
        assert isinstance(refusal(copy), SignatureError), at


def test_files_cut_off_or_grown_anywhere_are_refused(copy: Path) -> None:
    rng = random.Random(1)
    for file in sorted(copy.iterdir()):
        whole = file.read_bytes()
        for changed in [b"", whole[:-1], whole + b"\n", *(whole[: rng.randrange(len(whole))] for _ in range(10))]:
            file.write_bytes(changed)
            error = refusal(copy)
            assert "changed after export" in str(error)
        file.write_bytes(whole)


def test_a_model_of_another_bundle_is_refused(copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copy, tmp_path / "other"))
    model = other / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"redness", b"blueish"))
    reseal(other)
    load_bundle(other)
    shutil.copyfile(model, copy / "model.onnx")
    assert "model.onnx was changed after export" in str(refusal(copy))


def test_the_signature_of_another_bundle_is_refused(copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copy, tmp_path / "other"))
    reseal(other, lambda spec: spec.update(version=2))
    shutil.copyfile(other / "signature", copy / "signature")
    assert "does not match its signature" in str(refusal(copy))


def test_a_foreign_signature_is_refused_where_a_key_is_trusted(copy: Path) -> None:
    own = load_bundle(copy).signed_by
    reseal(copy)
    load_bundle(copy, PUBLIC)
    error = refusal(copy, own)
    assert isinstance(error, SignatureError)
    assert f"was signed by {PUBLIC[:16]}…, expected {own[:16]}…" in str(error)


@pytest.mark.parametrize("key", [None, PUBLIC])
def test_an_unsigned_bundle_is_refused(copy: Path, key: str | None) -> None:
    (copy / "signature").unlink()
    error = refusal(copy, key)
    assert isinstance(error, SignatureError)
    assert "no signature file found" in str(error)


@pytest.mark.parametrize("key", ["", "yes", PUBLIC[:-1], PUBLIC + "00", "g" * 64, "signing_key.pub", "\x1b[31m"])
def test_a_trusted_key_that_is_none_is_refused_rather_than_ignored(copy: Path, key: str) -> None:
    reseal(copy)
    assert "is no public key; expected 64 hex digits" in str(refusal(copy, key))


def test_the_trusted_key_may_come_with_the_end_of_its_line(copy: Path) -> None:
    reseal(copy)
    assert load_bundle(copy, PUBLIC.upper() + "\n").signed_by == PUBLIC


@pytest.mark.parametrize("name", ["extra.onnx", ".hidden", "model.onnx.data", "engine.plan", "code.py"])
def test_a_file_that_nobody_signed_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"?")
    assert f"'{name}' is not part of the bundle" in str(refusal(copy))


def test_a_folder_that_nobody_signed_is_refused(copy: Path) -> None:
    (copy / "cache").mkdir()
    assert "'cache' is not part of the bundle" in str(refusal(copy))


def test_a_bundle_that_is_still_packed_is_refused(copy: Path, tmp_path: Path) -> None:
    assert "is a file, and a bundle is a folder" in str(refusal(Path(shutil.make_archive(str(tmp_path / "b"), "zip", copy))))


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "report.html", *PAPERS])
def test_a_link_is_refused_wherever_it_leads(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    assert f"{name} is a symbolic link" in str(refusal(copy))
    (copy / name).unlink()
    (copy / name).symlink_to("nowhere")
    assert f"{name} is a symbolic link" in str(refusal(copy))


def test_a_link_to_the_whole_bundle_is_fine(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(copy)
    assert load_bundle(tmp_path / "current").spec.name == "redness"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
@pytest.mark.parametrize("name", ["golden.npz", *PAPERS])
def test_a_pipe_is_refused_instead_of_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert "a device or a pipe" in str(refusal(copy))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["golden.npz", *PAPERS])
def test_a_file_that_may_not_be_read_is_named(copy: Path, name: str) -> None:
    (copy / name).chmod(0)
    assert f"{name}: cannot be read (Permission denied)" in str(refusal(copy))


@pytest.mark.parametrize(
    ("name", "limit"),
    [("bundle.json", "MAX_MANIFEST_BYTES"), ("signature", "MAX_SIGNATURE_BYTES"), ("model.onnx", "MAX_FILE_BYTES")],
)
def test_a_huge_file_is_refused_before_it_is_read(copy: Path, name: str, limit: str) -> None:
    size = getattr(door, limit) + 1
    with (copy / name).open("r+b") as file:
        file.truncate(size)  # takes no space on the disk
    assert f"has {size} bytes, at most {size - 1} expected" in str(refusal(copy))


# --- what an attacker signed with a key of their own -------------------------------------------------------------------------


def listed(name: str) -> Change:
    return lambda spec: spec["files"].update({name: "0" * 64})


def fp32(**values: object) -> Change:
    return lambda spec: spec["models"]["fp32"].update(values)


def judged(**values: object) -> Change:
    return lambda spec: spec["models"]["fp32"]["engines"]["onnxruntime"].update(values)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..\\b",
        "..",
        ".",
        "",
        "C:x.onnx",
        "C:\\x",
        "\\\\host\\x",
        "model.onnx:s",
        "a\0b",
        "x" * 101,
        "end.",
        "a b",
        ".hidden",
        "-option",
        "\x1b[2J",
        "modèle.onnx",
        "\ud800",
        *PAPERS,
    ],
)
def test_names_that_could_lead_out_of_the_bundle_are_refused(copy: Path, name: str) -> None:
    reseal(copy, listed(name))
    assert any(said in str(refusal(copy)) for said in ("expected plain names of files", "not a bundle of schema version 2"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(fp32(file="../model.onnx"), "the fp32 model is '../model.onnx'", id="model elsewhere"),
        pytest.param(fp32(file="other.onnx"), "the fp32 model is 'other.onnx'", id="model without a hash"),
        pytest.param(fp32(file="report.html"), "the fp32 model is 'report.html'", id="model that is none"),
        pytest.param(judged(thresholds={"accept": float("nan"), "reject": 0.5}), "NaN is no finite number", id="NaN"),
        pytest.param(judged(thresholds={"accept": 0, "reject": float("inf")}), "Infinity is no finite number", id="Infinity"),
        pytest.param(judged(thresholds={"accept": -float("inf"), "reject": 1}), "-Infinity is no finite number", id="-Infinity"),
        pytest.param(judged(thresholds={"accept": 0.6, "reject": 0.3}), "must not exceed", id="thresholds crossed"),
        pytest.param(judged(thresholds={"accept": 0.6, "reject": 1.5}), "less than or equal to 1", id="threshold above 1"),
        pytest.param(judged(refused="it did not pass"), "did not pass in onnxruntime or in any engine", id="refused"),
        pytest.param(fp32(engines={}), "did not pass in onnxruntime or in any engine", id="no engine"),
        pytest.param(fp32(golden=[0.5]), "1 answers of fp32 are listed for 2 pictures", id="golden answers missing"),
        pytest.param(lambda spec: spec["models"].update(bf16=spec["models"]["fp32"]), "a model 'bf16' is listed", id="precision"),
        pytest.param(lambda spec: spec["files"].pop("golden.npz"), "golden.npz is not listed", id="nothing golden"),
        pytest.param(lambda spec: spec["files"].pop("report.html"), "'report.html' is not part of the bundle", id="not listed"),
        pytest.param(lambda spec: spec["files"].update({"b.onnx": "0" * 64}), "b.onnx is missing", id="listed, not there"),
        pytest.param(lambda spec: spec["files"].update({"b.onnx": "0\n"}), "b.onnx is listed without a sha256", id="no hash"),
        pytest.param(
            lambda spec: spec["files"].update({f"f{n}": "0" * 64 for n in range(99)}), "102 files are listed", id="too many files"
        ),
        pytest.param(lambda spec: spec.update(name="../../etc"), "the name '../../etc' is found", id="name with a path"),
        pytest.param(lambda spec: spec.update(name=".."), "the name '..' is found", id="name of the folder above"),
        pytest.param(lambda spec: spec.update(version=0), "version 0 is found", id="version 0"),
        pytest.param(lambda spec: spec.update(version=1 << 80), "is found; expected 1 to", id="version without end"),
        pytest.param(lambda spec: spec["preprocessing"].update(width=10**9), "less than or equal to 4096", id="huge input"),
        pytest.param(lambda spec: spec["preprocessing"].update(pad_bgr=[0, 0, 256]), "colours of 0 to 255", id="no colour"),
        pytest.param(lambda spec: spec.update(hook="os.system"), "hook: Extra inputs are not permitted", id="unknown key"),
        pytest.param(lambda spec: spec.update({"\x1b[31m" * 90: 1}), "Extra inputs are", id="control characters"),
        pytest.param(lambda spec: spec.pop("data"), "data: Field required", id="missing key"),
    ],
)
def test_a_signed_manifest_is_still_read_with_distrust(copy: Path, change: Change, said: str) -> None:
    reseal(copy, change)
    if said == "Extra inputs are":  # cut off after the long key
        said = "not a bundle of schema version 2 (?[31m"
    assert said in str(refusal(copy))


@pytest.mark.parametrize(
    ("software", "said"),
    [
        ({"line-inspector": "2.3.0"}, "install line-inspector 2.3.0 or newer here"),
        ({}, "install a newer line-inspector here"),
        ("?", "install a newer line-inspector here"),
    ],
)
@pytest.mark.parametrize("version", [3, 0, "2", None, True, [1]])
def test_another_schema_says_which_software_reads_it(copy: Path, version: object, software: object, said: str) -> None:
    reseal(copy, lambda spec: spec.update(schema_version=version, software=software, something_new=1))
    message = str(refusal(copy))
    assert f"schema version {version} found, but this inspector reads version 2" in message
    assert said in message


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(b"[" * 100_000, "nested too deeply", id="deep list"),
        pytest.param(b'{"a":' * 100_000, "nested too deeply", id="deep object"),
        pytest.param(b'{"a": 1, "a": 2}', "the key a stands twice", id="key twice"),
        pytest.param(b'{"a": {"b": 1, "b": 1}}', "the key b stands twice", id="inner key twice"),
        pytest.param(b'{"a": 1e999}', "1e999 is no finite number", id="too large for a float"),
        pytest.param(b'{"a": %s}' % (b"9" * 5000), "Exceeds the limit", id="too many digits"),
        pytest.param(b"", "Expecting value", id="empty"),
        pytest.param(b"[]", "not a bundle of schema version 2", id="a list"),
        pytest.param(b"null", "not a bundle of schema version 2", id="null"),
        pytest.param(b"\xff\xfe", "utf-8", id="no text"),
        pytest.param(json.dumps({"name": "x"}).encode("utf-16"), "utf-8", id="UTF-16"),
    ],
)
def test_json_tricks_are_refused(copy: Path, raw: bytes, said: str) -> None:
    seal(copy, raw)
    assert said in str(refusal(copy))


def test_a_threshold_that_stands_twice_is_refused(copy: Path) -> None:
    text = (copy / "bundle.json").read_text()
    seal(copy, text.replace('"accept": 0.3', '"accept": 0.3, "accept": 0.0').encode())
    assert "the key accept stands twice" in str(refusal(copy))


# --- golden pictures ---------------------------------------------------------------------------------------------------------


def head(shape: str, descr: str = "|u1") -> bytes:
    """The head of an .npy that says what it likes."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def archive(entries: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


FRAMES, ANSWERS = np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, 2), np.float32)
GOOD_ANSWERS = ("probability.npy", head("(2, 2)", "<f4") + bytes(16))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(lambda: b"no archive", "not a zip file", id="no archive"),
        pytest.param(lambda: npz(frames=FRAMES), "holds ['frames.npy'], expected frames and probability", id="array missing"),
        pytest.param(lambda: npz(frames=FRAMES, probability=ANSWERS, more=ANSWERS), "expected frames and probability", id="more"),
        pytest.param(lambda: npz(frames=FRAMES.astype(object), probability=ANSWERS), "pickled objects", id="pickled"),
        pytest.param(lambda: npz(frames=FRAMES, probability=ANSWERS.astype(object)), "pickled objects", id="pickled answers"),
        pytest.param(lambda: npz(frames=FRAMES[:, :64], probability=ANSWERS), "frames are (2, 64, 128, 3) uint8", id="size"),
        pytest.param(lambda: npz(frames=FRAMES[:0], probability=ANSWERS[:0]), "frames are (0, 128, 128, 3)", id="none"),
        pytest.param(lambda: npz(frames=FRAMES.astype(float), probability=ANSWERS), "float64, expected N x", id="type"),
        pytest.param(lambda: npz(frames=FRAMES, probability=ANSWERS[:1]), "probability is (1, 2)", id="fewer answers"),
        pytest.param(
            lambda: npz(frames=FRAMES, probability=ANSWERS.astype(float)), "float64, expected (2, 2)", id="answers' type"
        ),
        pytest.param(lambda: npz(frames=np.uint8(1), probability=ANSWERS), "frames are () uint8", id="scalar"),
        pytest.param(
            lambda: archive([("frames.npy", head("(99999999, 128, 128, 3)")), GOOD_ANSWERS]), "another size than", id="huge shape"
        ),
        pytest.param(
            lambda: archive([("frames.npy", head(f"({10**30}, 128, 128, 3)")), GOOD_ANSWERS]), "another size", id="endless shape"
        ),
        pytest.param(lambda: archive([("frames.npy", head("(-1, 128, 128, 3)")), GOOD_ANSWERS]), "another size", id="negative"),
        pytest.param(lambda: archive([("frames.npy", head("(2, 128")), GOOD_ANSWERS]), "no golden pictures", id="head cut off"),
        pytest.param(lambda: archive([("frames.npy", head("(" * 200)), GOOD_ANSWERS]), "no golden pictures", id="head nested"),
        pytest.param(lambda: archive([("../frames.npy", head("()")), GOOD_ANSWERS]), "holds ['../frames.npy'", id="path"),
        pytest.param(lambda: archive([GOOD_ANSWERS, GOOD_ANSWERS]), "expected frames and probability", id="entry twice"),
    ],
)
def test_golden_pictures_that_are_none_are_refused(copy: Path, content: Callable[[], bytes], said: str) -> None:
    (copy / "golden.npz").write_bytes(content())
    reseal(copy)
    message = str(refusal(copy))
    assert "golden.npz" in message
    assert said in message


def test_a_zip_bomb_is_refused_from_its_directory(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 1 << 8
    bomb = npz(frames=np.zeros((count, 128, 128, 3), np.uint8), probability=np.zeros((count, 2), np.float32))
    assert len(bomb) < 50_000
    (copy / "golden.npz").write_bytes(bomb)
    reseal(copy)
    monkeypatch.setattr(door, "MAX_GOLDEN_BYTES", count * 128 * 128 * 3)  # 12 MB here instead of 512
    assert "unpacks to 12" in str(refusal(copy))


def test_golden_pictures_swapped_after_loading_are_refused(copy: Path) -> None:
    loaded = load_bundle(copy)
    (copy / "golden.npz").write_bytes(npz(frames=FRAMES, probability=ANSWERS))
    with pytest.raises(BundleError, match=r"golden\.npz was changed after export"):
        loaded.golden()


# --- models ------------------------------------------------------------------------------------------------------------------


def external(tensor: Any) -> Any:
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def initializer(model: Any) -> None:
    external(model.graph.initializer[2])


def constant(model: Any) -> None:
    from onnx import helper

    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=external(helper.make_tensor("k", 1, [1], [0.0]))))


def branch(model: Any) -> None:
    from onnx import helper

    inner = helper.make_graph([], "inner", [], [], [external(helper.make_tensor("k", 1, [1], [0.0]))])
    outer = helper.make_graph([helper.make_node("If", ["c"], ["o"], then_branch=inner)], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=outer))


def function(model: Any) -> None:
    from onnx import helper

    node = helper.make_node("Constant", [], ["k"], value=external(helper.make_tensor("k", 1, [1], [0.0])))
    model.functions.append(helper.make_function("own", "f", [], ["k"], [node], []))


def sparse(model: Any) -> None:
    from onnx import TensorProto, helper

    values, indices = external(helper.make_tensor("v", 1, [1], [0.0])), helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def location_only(model: Any) -> None:
    model.graph.initializer[2].data_location = 1


@pytest.mark.parametrize("hide", [initializer, constant, branch, function, sparse, location_only])
def test_weights_kept_in_another_file_are_refused(copy: Path, hide: Callable[[Any], None]) -> None:
    import onnx

    model = onnx.load(copy / "model.onnx", load_external_data=False)
    hide(model)
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    reseal(copy)
    assert "model.onnx: keeps weights in another file" in str(refusal(copy))


def test_a_field_number_that_readers_cut_off_is_refused(copy: Path) -> None:
    """protobuf takes 32 bits of a tag: with a bit above, `external_data` would pass us by under another number."""
    import onnx

    model = onnx.load(copy / "model.onnx", load_external_data=False)
    entry = onnx.StringStringEntryProto(key="location", value="secret.bin").SerializeToString()
    tag = (13 << 3 | 2) | 1 << 32
    varint = bytes([tag >> shift & 127 | 128 for shift in range(0, 28, 7)]) + bytes([tag >> 28])
    tensor = model.graph.initializer[2].SerializeToString() + varint + bytes([len(entry)]) + entry
    del model.graph.initializer[2]
    graph = model.graph.SerializeToString() + _field(5, tensor)
    model.ClearField("graph")
    (copy / "model.onnx").write_bytes(model.SerializeToString() + _field(7, graph))
    reseal(copy)
    assert "model.onnx: not an ONNX model" in str(refusal(copy))


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize("classes", [["x"], ["defective", "good"], ["good", "defective", "other"]])
def test_other_classes_than_ours_are_refused(classes: list[str], copy: Path) -> None:
    reseal(copy, lambda spec: spec.update(classes=classes))
    assert "expected good and defective" in str(refusal(copy))


def test_an_engine_built_elsewhere_is_refused(copy: Path) -> None:
    import onnx
    from onnx import helper

    model = onnx.load(copy / "model.onnx")
    model.graph.node.append(helper.make_node("EPContext", [], ["e"], domain="com.microsoft", ep_cache_context="../engine"))
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    reseal(copy)
    assert "EPContext" in str(refusal(copy))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x80" * 40, b"\x3a\x05"]
)
def test_a_signed_file_that_is_no_model_is_refused(copy: Path, content: bytes) -> None:
    (copy / "model.onnx").write_bytes(content)
    reseal(copy)
    assert "expected an ONNX model that is whole in one file" in str(refusal(copy))


# --- whatever else -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # zipfile and numpy warn of what they repair
@pytest.mark.parametrize("name", ["bundle.json", "signature", "golden.npz", "model.onnx"])
def test_damage_signed_by_an_attacker_never_crashes(copy: Path, name: str) -> None:
    rng = random.Random(name)
    whole = (copy / name).read_bytes()
    refused = []
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            at = rng.choice([rng.randrange(len(content)), rng.randrange(min(120, len(content)))])
            content[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        if name == "bundle.json":
            seal(copy, bytes(content))
        else:
            (copy / name).write_bytes(content)
            if name != "signature":
                reseal(copy)
        try:
            load_bundle(copy).golden()
        except BundleError as error:
            refused.append(str(error))
        if name == "bundle.json":
            seal(copy, whole)
    assert len(refused) > 20
    assert all(said.isprintable() for said in refused)


def test_two_bundles_compare(copy: Path, bundle: Bundle) -> None:
    def changed(**values: object) -> Bundle:
        return Bundle(bundle.path, bundle.spec.model_copy(update=values), bundle.signed_by)

    assert changed(version=2).against(bundle) == "newer"
    assert bundle.against(changed(version=10)) == "older"
    assert load_bundle(copy).against(bundle) == "same"
    assert changed(created="2026-11-21T12:00:00+00:00").against(bundle) == "same version, other content"
    assert changed(name="blueness", version=2).against(bundle) == "other product"
