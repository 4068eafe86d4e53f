"""The compose file and the page: they name only what exists, and every command on them is one that the program takes."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.dockerfile import PINNED

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
PAGE = (DOCKER / "README.md").read_text()
WINGS = {"train": "pipeline.cli", "cpu": "deploy.cli", "gpu": "deploy.cli", "jetson": "deploy.cli"}


def compose() -> dict[str, Any]:
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert isinstance(content, dict)
    return content


def page_commands() -> list[tuple[str, str]]:
    """Image and arguments of each `docker run` on the page, and of the compose file; `jetson` is a function on the page."""
    lines = [
        line.split(" #")[0].strip() for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    found = re.findall(r"^docker run .*?line-inspector:(\w+) (.*)$|^(jetson) (.*)$", "\n".join(lines), re.MULTILINE)
    commands = [(image or function, arguments or more) for image, arguments, function, more in found]
    return [*commands, ("cpu", shlex.join(compose()["services"]["inspector"]["command"]))]


@pytest.mark.parametrize(("image", "arguments"), page_commands())
def test_commands_exist_with_their_options(image: str, arguments: str) -> None:
    command, *rest = shlex.split(arguments)
    done = subprocess.run(
        [sys.executable, "-m", WINGS[image], command, "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    options = [word for word in rest if word.startswith("--")]
    assert [option for option in options if f"{option} " not in done.stdout] == []


def test_the_page_shows_each_image_and_both_wings() -> None:
    assert {image for image, _ in page_commands()} == set(WINGS)
    assert len(PAGE.splitlines()) < 60
    assert {path for path in re.findall(r"docker/[\w.-]+", PAGE) if not (ROOT / path).is_file()} == set()
    ten = PAGE.split("in ten lines\n")[1].split("```")[1].strip().splitlines()
    assert len(ten) == 10


def test_the_stations_inspector_can_change_its_store_and_engines_only() -> None:
    inspector = compose()["services"]["inspector"]
    bundle, engines, store = inspector["volumes"]
    assert bundle.endswith(":/bundle:ro")
    assert (engines, store) == ("engines:/engines", "store:/data")
    assert inspector["read_only"] is True
    assert inspector["cap_drop"] == ["ALL"]
    assert inspector["security_opt"] == ["no-new-privileges:true"]
    assert inspector["command"][:2] == ["run", "/bundle"]
    assert "--trust" in inspector["command"]
    for image in ("cpu", "gpu", "jetson"):
        file = inspector["build"]["dockerfile"].replace("${DEVICE:-cpu}", image)
        assert (DOCKER / inspector["build"]["context"] / file).is_file()


def test_the_stations_broker_is_pinned_and_unpublished() -> None:
    content = compose()
    broker = content["services"]["broker"]
    assert PINNED.fullmatch(broker["image"])
    assert [name for name, service in content["services"].items() if "ports" in service or "privileged" in service] == []
    mounted = [volume.split(":")[0] for service in content["services"].values() for volume in service["volumes"]]
    assert {name for name in mounted if re.fullmatch(r"\w+", name)} == set(content["volumes"])
    assert all((DOCKER / name).is_file() for name in mounted if name.startswith("./"))


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is absent")
def test_docker_compose_reads_the_file() -> None:
    command = ["docker", "compose", "-f", str(DOCKER / "compose.yaml"), "config", "--quiet"]
    without = {name: value for name, value in os.environ.items() if name not in ("BUNDLE", "TRUST_KEY")}
    refused = subprocess.run(command, env=without, capture_output=True, text=True)
    assert refused.returncode != 0
    given = {**without, "BUNDLE": "/bundles/parts-1", "TRUST_KEY": "0" * 64}
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is absent")
def test_the_broker_takes_its_settings(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (DOCKER / "mosquitto.conf").read_text()
    own = settings.replace("listener 1883", f"listener {port} 127.0.0.1").replace("/mosquitto/data/", f"{tmp_path}/")
    (tmp_path / "mosquitto.conf").write_text(own)
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    tmp_path.chmod(0o777)  # started by root, it becomes the user `mosquitto`
    broker = subprocess.Popen(["mosquitto", "-c", str(tmp_path / "mosquitto.conf")], **quiet)
    try:
        for _ in range(200):
            assert broker.poll() is None, "mosquitto refuses its settings"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.1)
        pytest.fail("mosquitto does not listen")
    finally:
        broker.kill()
        broker.wait()
