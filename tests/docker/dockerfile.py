"""Reads a Dockerfile, and says what in it breaks the rules of this project. It is no hadolint: that runs beside it."""

import re
import shlex
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

PINNED = re.compile(r"[\w./-]+:[\w.-]*\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
"""A name with a tag that has at least two numbers of a version."""
KEPT_OUT = ("runs", "datasets", "bundles", "demo", "audits", "manifests", ".venv", ".git", "tests", "docs")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined, its `--flags` apart."""

    word: str
    flags: tuple[str, ...]
    value: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.value)


@dataclass(frozen=True)
class Stage:
    """What one FROM begins."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def every(self, word: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.word == word]


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in order. Heredocs are not understood: the rules allow no RUN that needs one."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        word, *rest = line.split()
        flags = tuple(takewhile(lambda part: part.startswith("--"), rest))
        found.append(Instruction(word.upper(), flags, " ".join(rest[len(flags) :])))
    return found


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    found: list[Stage] = []
    for instruction in instructions(text):
        if instruction.word == "FROM":
            base, *alias = instruction.value.split()
            found.append(Stage(base, alias[1] if alias else ""))
        elif found:
            found[-1].instructions.append(instruction)
    return found


def scripts(instruction: Instruction) -> list[list[str]]:
    """The commands of a RUN, each as its words."""
    return [shlex.split(command) for command in instruction.value.split("&&")]


def let_in(ignore: str) -> list[str]:
    """The paths that a `.dockerignore` which first shuts everything out lets in again."""
    lines = [line.strip() for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    return [line[1:] for line in lines if line.startswith("!")] if lines[:1] == ["*"] else []


def complaints(text: str, ignore: str, root: Path) -> list[str]:
    """What is wrong with a Dockerfile whose build context is `root`, less what `ignore` keeps out."""
    found: list[str] = []
    all_stages, allowed = stages(text), let_in(ignore)
    names = {stage.name for stage in all_stages if stage.name}
    for stage in all_stages:
        of_earlier = stage.base in names or any(re.fullmatch(re.sub(r"\$\{\w+\}", ".+", stage.base), name) for name in names)
        if not of_earlier and not PINNED.fullmatch(stage.base):
            found.append(f"FROM {stage.base}: not pinned to a version")
        for instruction in stage.instructions:
            found += _of_instruction(instruction, allowed, root)
    if not all_stages:
        return ["no FROM"]
    last = all_stages[-1]
    users = [user.value for user in last.every("USER")]
    if not users or not re.fullmatch(r"[1-9]\d{3,}", users[-1]):
        found.append("the last USER is not a number other than root's")
    if any(later.word == "RUN" for later in _after_user(last)):
        found.append("RUN after USER")
    if len(last.every("HEALTHCHECK")) != 1:
        found.append("no HEALTHCHECK")
    if not allowed:
        found.append("the .dockerignore does not shut everything out first")
    found += [f"the .dockerignore lets {path} in" for path in allowed if path.split("/")[0] in KEPT_OUT]
    return found


def _after_user(stage: Stage) -> list[Instruction]:
    words = [instruction.word for instruction in stage.instructions]
    return stage.instructions[words.index("USER") :] if "USER" in words else []


def _of_instruction(instruction: Instruction, allowed: list[str], root: Path) -> list[str]:
    found = []
    if instruction.word == "ADD":
        found.append(f"ADD {instruction.value}: use COPY")
    if "sudo" in re.split(r"\W+", instruction.value):
        found.append(f"{instruction.word} uses sudo")
    if instruction.word == "COPY" and not any(flag.startswith("--from=") for flag in instruction.flags):
        for path in instruction.words[:-1]:
            if not (root / path).exists():
                found.append(f"COPY {path}: does not exist")
            elif not any(path == entry or path.startswith(f"{entry}/") for entry in allowed):
                found.append(f"COPY {path}: kept out by the .dockerignore")
    if instruction.word == "RUN":
        for words in scripts(instruction):
            script = root / "docker" / "scripts" / words[0].removeprefix("/scripts/")
            if not words[0].startswith("/scripts/") or not script.is_file():
                found.append(f"RUN {words[0]}: not a script of docker/scripts")
    return found
