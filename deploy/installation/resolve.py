"""Which model runs in which engine: what the user says, else what was installed on this device, else fp32 on onnxruntime."""

from dataclasses import dataclass
from pathlib import Path

from deploy.bundle import Bundle, sha256_of
from deploy.bundle_spec import REFERENCE
from deploy.errors import BundleError
from deploy.installation.choice import Choice, choice_file, read_choice
from deploy.installation.machine import GPU_RUNTIMES, ROOT, cores, cpu_model, gpu_name, this_platform, version_of

PLAIN = "fp32"


@dataclass(frozen=True)
class Resolved:
    """What will run."""

    precision: str
    runtime: str
    note: str
    """One line on why, for the user; empty where they said it themselves."""
    installed: bool
    """Is it the choice that was made on this device?"""


def resolve(bundle: Bundle, precision: str | None, runtime: str | None, root: Path = ROOT) -> Resolved:
    """What is given wins; the rest comes from the choice on this device, or is fp32 and onnxruntime.

    The choice must be for this very bundle, machine and runtime, and fit what is given.
    """
    if precision is not None and runtime is not None:
        return Resolved(precision, runtime, "", False)
    choice, why = _installed(bundle, root)
    if choice is not None and precision in (None, choice.precision) and runtime in (None, choice.runtime):
        note = f"{choice.precision} on {choice.runtime}, as installed on this device {choice.measured[:16].replace('T', ' ')} UTC"
        return Resolved(choice.precision, choice.runtime, note, True)
    given = precision is not None or runtime is not None
    note = "" if given else f"{PLAIN} on {REFERENCE}: {why}; `inspector install {bundle.path}` picks what is fastest here"
    return Resolved(precision or PLAIN, runtime or REFERENCE, note, False)


def _installed(bundle: Bundle, root: Path) -> tuple[Choice | None, str]:
    """The choice that is good here and now, or why there is none."""
    file = choice_file(bundle)
    try:
        choice = read_choice(file)
        if choice is None:
            return None, "nothing was installed for this bundle on this device"
        if why := outdated(choice, bundle, root):
            return None, why
        bundle.judged(choice.precision, choice.runtime)
    except BundleError as error:
        return None, f"the installed choice is not used, as {error}"
    return choice, ""


def outdated(choice: Choice, bundle: Bundle, root: Path = ROOT) -> str:
    """Why a choice is not good for this bundle on this machine as it is now; empty when it is.

    Only the runtime that was chosen is looked at: others may come, go and change without it answering or running otherwise.
    """
    if choice.bundle_sha256 != sha256_of(bundle.path / "bundle.json"):
        return f"what is installed is for another bundle ({choice.bundle} version {choice.version})"
    there = choice.machine
    here = {"platform": this_platform(), "cpu": cpu_model(root), "cores": cores()}
    if choice.runtime in GPU_RUNTIMES:
        here["gpu"] = gpu_name()
    for key, found in here.items():
        if found != (before := getattr(there, key)):
            return f"it was installed on another machine ({key} {before}, here {found or 'none'})"
    before, now = choice.runtimes.get(choice.runtime, "unknown"), version_of(choice.runtime)
    if now is None:
        return f"{choice.runtime} {before}, which was chosen, is no longer here"
    if now != before:
        return f"{choice.runtime} was updated since it was installed ({before}, now {now})"
    return ""
