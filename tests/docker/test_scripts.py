"""The scripts that build the images, run without an engine for containers: in a plain folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.dockerfile import let_in, scripts, stages

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is absent")


def run_script(name: str, *arguments: str, **settings: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHON": sys.executable, **{key: str(value) for key, value in settings.items()}}
    return subprocess.run([str(DOCKER / "scripts" / name), *arguments], env=environment, capture_output=True, text=True)


def skip_without_packages(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode and ("No matching distribution" in done.stderr or "Could not install packages" in done.stderr):
        pytest.skip(f"pip reaches no packages here: {done.stderr.strip().splitlines()[-1]}")


def lay_out(image: str, destination: Path) -> Path:
    """What `COPY` brings into /source of an image, from what its .dockerignore lets in; returns that folder."""
    context, source = destination / "context", destination / "source"
    for path in let_in((DOCKER / f"{image}.Dockerfile.dockerignore").read_text()):
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, context / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, context / path)
    for copy in stages((DOCKER / f"{image}.Dockerfile").read_text())[0].every("COPY"):
        *paths, target = copy.words
        for path in paths:
            into = destination / target.strip("/")
            if (context / path).is_dir():  # of a folder, COPY takes what is in it
                shutil.copytree(context / path, into, dirs_exist_ok=True)
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(context / path, into)
    return source


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual environment that the build stage of cpu.Dockerfile makes."""
    folder = tmp_path_factory.mktemp("cpu")
    (build,) = (stage for stage in stages((DOCKER / "cpu.Dockerfile").read_text()) if stage.name == "build")
    ((command,),) = (scripts(run) for run in build.every("RUN"))
    name = command[0].removeprefix("/scripts/")
    done = run_script(name, *command[1:], SOURCE=lay_out("cpu", folder), VENV=folder / "venv")
    skip_without_packages(done)
    assert done.returncode == 0, done.stderr
    return folder / "venv"


@pytest.mark.slow
def test_install_edge_makes_an_inspector(edge: Path, tmp_path: Path) -> None:
    for command, says in ((["--help"], "selftest"), (["selftest", "--help"], "golden pictures")):
        done = subprocess.run([str(edge / "bin" / "inspector"), *command], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, says in done.stdout) == (0, True), done.stdout + done.stderr
    assert not (edge / "bin" / "pipeline").exists()
    absent = run_script("check-imports.sh", "cv2", "torch", VENV=edge)
    assert absent.returncode == 1
    assert "check-imports.sh: torch does not load in this image" in absent.stderr


@pytest.mark.slow
def test_the_image_checks_pass_on_what_was_installed(edge: Path) -> None:
    last = stages((DOCKER / "cpu.Dockerfile").read_text())[-1]
    (command,) = (words for run in last.every("RUN") for words in scripts(run) if words[0].endswith("check-imports.sh"))
    done = run_script("check-imports.sh", *command[1:], VENV=edge)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_health_is_the_bundles_health(edge: Path, bundle_path: Path, tmp_path: Path) -> None:
    (check,) = stages((DOCKER / "cpu.Dockerfile").read_text())[-1].every("HEALTHCHECK")
    copy = tmp_path / "bundle"
    shutil.copytree(bundle_path, copy)
    command = [str(copy) if word == "/bundle" else word for word in json.loads(check.value.removeprefix("CMD "))]
    environment = {**os.environ, "PATH": f"{edge / 'bin'}:{os.environ['PATH']}"}
    healthy = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    (copy / "model.onnx").write_bytes(b"another graph")
    ill = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ill.returncode == 1
    assert "model.onnx" in ill.stderr


@pytest.mark.slow
def test_install_train_installs_both_wings(tmp_path: Path) -> None:
    """The real script and pip, with two small packages in place of the extras' 6 GB."""
    source = lay_out("train", tmp_path)
    assert sorted(path.name for path in source.iterdir()) == ["README.md", "deploy", "pipeline", "pyproject.toml"]
    project = (source / "pyproject.toml").read_text()
    for name, small in (("dependencies", ""), ("train", '"jinja2"'), ("cpu", '"pyyaml"')):
        project, found = re.subn(rf"^{name} = \[.*?\]$", f"{name} = [{small}]", project, flags=re.MULTILINE | re.DOTALL)
        assert found == 1
    (source / "pyproject.toml").write_text(project)
    done = run_script("install-train.sh", SOURCE=source, VENV=tmp_path / "venv")
    skip_without_packages(done)
    assert done.returncode == 0, done.stderr
    found_both = [str(tmp_path / "venv" / "bin" / "python"), "-c", "import pipeline, deploy, jinja2, yaml"]
    assert subprocess.run(found_both, cwd=tmp_path, env={"PATH": os.defpath}).returncode == 0
    assert {"pipeline", "inspector"} <= {path.name for path in (tmp_path / "venv" / "bin").iterdir()}


@pytest.mark.parametrize(
    ("script", "arguments", "complaint"),
    [
        ("install-edge.sh", (), "'' is no engine for an image; expected cpu, gpu or jetson"),
        ("install-edge.sh", ("train",), "'train' is no engine for an image; expected cpu, gpu or jetson"),
        ("install-edge.sh", ("cpu",), "SOURCE: is the folder with pyproject.toml and deploy/"),
        ("install-train.sh", (), "SOURCE: is the folder with pyproject.toml"),
        ("install-system.sh", (), "name the packages to install"),
        ("check-imports.sh", ("cv2",), "VENV: is the folder of the virtual environment"),
        ("check-tensorrt.sh", (), "VENV: is the folder of the virtual environment"),
    ],
)
def test_scripts_say_what_they_lack(script: str, arguments: tuple[str, ...], complaint: str) -> None:
    done = run_script(script, *arguments)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_tensorrt_is_found_and_not_loaded(tmp_path: Path) -> None:
    """At build time its libraries cannot load: they need the driver, which only a running container is given."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    absent = run_script("check-tensorrt.sh", VENV=tmp_path / "venv")
    assert absent.returncode == 1
    assert "no Python module tensorrt is visible" in absent.stderr
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("raise ImportError('libnvdla_compiler.so')")
    present = run_script("check-tensorrt.sh", VENV=tmp_path / "venv", PYTHONPATH=tmp_path)
    assert (present.returncode, present.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("useradd") is None, reason="only root makes users, with useradd")
def test_make_user_in_a_folder(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\nvideo:x:44:\n")
    (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    (etc / "gshadow").write_text("root:*::\nvideo:!::\n")
    done = run_script("make-user.sh", DESTINATION=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "inspector:x:10001:10001::/data:/usr/sbin/nologin" in (etc / "passwd").read_text()
    assert "video:x:44:inspector" in (etc / "group").read_text()
    for folder in ("data", "engines"):
        data = (tmp_path / folder).stat()
        assert (data.st_uid, data.st_gid, data.st_mode & 0o777) == (10001, 10001, 0o750)
    for image in ("train", "gpu", "cpu", "jetson"):
        (user,) = stages((DOCKER / f"{image}.Dockerfile").read_text())[-1].every("USER")
        assert user.value == str(data.st_uid)


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="apt is absent")
def test_system_packages_are_in_debian() -> None:
    """Those of the images that are Debian; Ubuntu's have names of their own."""
    wanted = set()
    for image in ("cpu", "train"):
        for stage in stages((DOCKER / f"{image}.Dockerfile").read_text()):
            for run in stage.every("RUN"):
                wanted |= {name for words in scripts(run) if "install-system" in words[0] for name in words[1:]}
    assert wanted == {"libgl1", "libglib2.0-0"}
    if "bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip("this is not Debian bookworm")
    known = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=True).stdout.split()
    if "bash" not in known:
        pytest.skip("apt has no package lists here")
    assert wanted <= set(known)
