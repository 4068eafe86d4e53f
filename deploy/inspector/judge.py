"""What decides: a bundle that was checked on this device, its engine and its thresholds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.bundle import Bundle, load_bundle, sha256_of
from deploy.engines import Answer, Engine, open_engine
from deploy.installation.resolve import resolve
from deploy.preprocess import Picture, Preprocessing, letterbox
from deploy.selftest import check_golden
from deploy.verdict import Thresholds


@dataclass(frozen=True, eq=False)
class Judge:
    """Answers for one window at a time.

    Windows are not gathered into batches: on a CPU every picture of a batch costs as much as alone, or more (measured: 2.5 ms
    alone, 6.6 ms each in pairs), a runtime plans anew for each batch size, and the first would wait for the last one's answer.
    """

    bundle: Bundle
    precision: str
    engine: Engine
    thresholds: Thresholds
    bundle_sha256: str
    """Hash of its bundle.json."""
    note: str = ""
    """Why this model and engine, for the user; empty where they said it themselves."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the graph expects."""
        return self.bundle.spec.preprocessing

    def ask(self, window: Picture, letterboxed: Picture | None = None) -> tuple[Answer | None, str | None]:
        """The graph's answer for one window, or why there is none. Whatever an engine raises, the line must go on.

        `letterboxed`: the window as the graph takes it, where that was made before.
        """
        try:
            answer = self.engine.infer((letterbox(window, self.preprocessing) if letterboxed is None else letterboxed)[None])
            probability = float(answer.defect[0])
        except Exception as error:  # EngineError, MemoryError, or what a driver thinks of
            return None, str(error) or type(error).__name__
        if not 0 <= probability <= 1:  # also catches NaN
            return None, f"{self.engine.name} answered {probability}, expected a probability in 0..1"
        return answer, None


def open_judge(path: Path, trusted_key: str | None = None, precision: str | None = None, runtime: str | None = None) -> Judge:
    """Check signature and hashes, open the engine, and ask it the golden pictures. Raises BundleError or EngineError.

    Without `precision` and `runtime` it is what `inspector install` chose on this device, else fp32 on onnxruntime.
    """
    bundle = load_bundle(path, trusted_key)
    chosen = resolve(bundle, precision, runtime)
    thresholds = bundle.judged(chosen.precision, chosen.runtime).thresholds
    engine = open_engine(bundle, chosen.precision, chosen.runtime)
    check_golden(bundle, engine, chosen.precision)
    return Judge(bundle, chosen.precision, engine, thresholds, sha256_of(path / "bundle.json"), chosen.note)


CurrentJudge = Callable[[], Judge]
"""Who decides from the next frame on; another one after a reload."""
