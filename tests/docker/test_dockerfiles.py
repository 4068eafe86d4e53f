"""The images keep the rules: pinned bases, no root, a health check, nothing in them but what they need."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.dockerfile import complaints, let_in, stages

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
IMAGES = ("train", "gpu", "cpu", "jetson")
SCRIPTS = sorted((DOCKER / "scripts").iterdir())

GOOD = """
FROM python:3.12.13-slim AS build
COPY deploy /source/deploy
RUN --mount=type=bind,source=docker/scripts,target=/scripts \\
    /scripts/install-edge.sh cpu && /scripts/check-tensorrt.sh
FROM python:3.12.13-slim
COPY --from=build /opt/inspector /opt/inspector
USER 10001
HEALTHCHECK --interval=10m CMD ["inspector", "selftest", "/bundle"]
"""
IGNORE = "# nothing but\n*\n!deploy\n"


def dockerfile(image: str) -> str:
    return (DOCKER / f"{image}.Dockerfile").read_text()


@pytest.mark.parametrize("image", IMAGES)
def test_rules_are_kept(image: str) -> None:
    ignore = (DOCKER / f"{image}.Dockerfile.dockerignore").read_text()
    assert complaints(dockerfile(image), ignore, ROOT) == []
    assert image == "train" or "pipeline" not in let_in(ignore)  # the edge never carries the training wing


def test_there_are_no_other_images() -> None:
    assert sorted(file.name for file in DOCKER.glob("*.Dockerfile")) == sorted(f"{image}.Dockerfile" for image in IMAGES)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("FROM python:3.12.13-slim\n", "FROM python:latest\n", "FROM python:latest: not pinned to a version"),
        ("FROM python:3.12.13-slim\n", "FROM python\n", "FROM python: not pinned to a version"),
        ("FROM python:3.12.13-slim\n", "FROM python:3-slim\n", "FROM python:3-slim: not pinned to a version"),
        ("FROM python:3.12.13-slim\n", "FROM other-${X}\n", "FROM other-${X}: not pinned to a version"),
        ("COPY deploy", "ADD https://example.org/x.tar", "ADD https://example.org/x.tar /source/deploy: use COPY"),
        ("COPY deploy", "COPY deployed", "COPY deployed: does not exist"),
        ("COPY deploy", "COPY pipeline", "COPY pipeline: kept out by the .dockerignore"),
        ("/scripts/check-tensorrt.sh", "apt-get update", "RUN apt-get: not a script of docker/scripts"),
        ("/scripts/check-tensorrt.sh", "/scripts/absent.sh", "RUN /scripts/absent.sh: not a script of docker/scripts"),
        ("/scripts/check-tensorrt.sh", "sudo ls", "RUN uses sudo"),
        ("USER 10001", "USER 0", "the last USER is not a number other than root's"),
        ("USER 10001\n", "", "the last USER is not a number other than root's"),
        ("HEALTHCHECK --interval=10m CMD", "CMD", "no HEALTHCHECK"),
        ("HEALTHCHECK", "RUN /scripts/make-user.sh\nHEALTHCHECK", "RUN after USER"),
    ],
)
def test_rules_find_what_breaks_them(before: str, after: str, complaint: str) -> None:
    assert complaints(GOOD, IGNORE, ROOT) == []
    assert before in GOOD
    assert complaint in complaints(GOOD.replace(before, after), IGNORE, ROOT)


@pytest.mark.parametrize("ignore", ["", "runs\n.git\n", "*\n!deploy\n!runs\n"])
def test_rules_find_an_ignore_file_that_lets_everything_in(ignore: str) -> None:
    assert [line for line in complaints(GOOD, ignore, ROOT) if ".dockerignore" in line]


@pytest.mark.parametrize("image", ["gpu", "cpu", "jetson"])
def test_health_is_the_selftest_of_the_bundle(image: str) -> None:
    (check,) = stages(dockerfile(image))[-1].every("HEALTHCHECK")
    assert check.value == 'CMD ["inspector", "selftest", "/bundle"]'


def test_a_jetson_sees_its_own_tensorrt() -> None:
    install = next(run.value for stage in stages(dockerfile("jetson")) for run in stage.every("RUN") if "edge" in run.value)
    assert install == "/scripts/install-edge.sh jetson --system-site-packages && /scripts/check-tensorrt.sh"
    known = {stage.name for stage in stages(dockerfile("jetson"))}
    default = re.search(r"^ARG JETPACK=(.+)$", dockerfile("jetson"), re.MULTILINE)
    assert default
    assert f"jetpack-{default[1]}" in known


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_error(script: Path) -> None:
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines


def test_every_script_is_used() -> None:
    used = {name for image in IMAGES for name in re.findall(r"/scripts/([\w-]+\.sh)", dockerfile(image))}
    assert used == {script.name for script in SCRIPTS}


def test_no_package_index_is_named() -> None:
    files = [path for path in DOCKER.rglob("*") if path.is_file()]
    assert files
    hosts = "py" + "pi", "python" + "hosted"  # in pieces: this page names none either
    named = re.compile("|".join((*hosts, r"--(extra-)?index-url|--find-links|/simple\b|whl/")), re.IGNORECASE)
    assert [path.name for path in files if named.search(path.read_text())] == []


def linter(name: str) -> str:
    """The path of a linter, on the path or beside this Python."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    return found or pytest.skip(f"{name} is absent")


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint(image: str) -> None:
    done = subprocess.run([linter("hadolint"), str(DOCKER / f"{image}.Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_shellcheck() -> None:
    done = subprocess.run([linter("shellcheck"), *map(str, SCRIPTS)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
