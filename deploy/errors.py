"""Every error a user can meet. A message says what was found, what was expected, and what to do next.

InspectionError
├── DatasetError        pictures, labels, layouts, splits
├── WeightsError        source weights that are missing or do not fit
├── RunError            a training run that is missing or incomplete
├── BundleError         a bundle that is missing, incomplete or altered
│   ├── SignatureError      the signature does not match
│   └── GoldenMismatch      this engine does not answer as the lab did
├── EngineError         an inference engine that cannot start or failed
│   └── ProviderMissing     the accelerator asked for is not what really runs
├── CameraError         a picture source
│   ├── CameraLost          it stopped delivering
│   └── StaleFrame          what it delivered is too old to judge
├── GateFailed          an exported candidate, or a challenger, was not good enough
└── StationError        station settings
"""


class InspectionError(Exception):
    """Base of every error that is shown to the user as one message, without a traceback."""


class DatasetError(InspectionError):
    """Pictures, labels, a layout or a split cannot be used as they are."""


class WeightsError(InspectionError):
    """Source weights are missing, or belong to another architecture."""


class RunError(InspectionError):
    """A run folder is missing, incomplete, or does not fit what was asked of it."""


class BundleError(InspectionError):
    """A bundle is missing, incomplete or altered."""


class SignatureError(BundleError):
    """The signature over `bundle.json` does not match."""


class GoldenMismatch(BundleError):
    """The golden pictures get other answers on this engine than in the lab."""


class EngineError(InspectionError):
    """An inference engine cannot start, or failed while running."""


class ProviderMissing(EngineError):
    """The accelerator that was asked for is not the one that would run."""


class CameraError(InspectionError):
    """A picture source cannot be opened or used."""


class CameraLost(CameraError):
    """A camera that was running stopped delivering frames."""


class StaleFrame(CameraError):
    """A frame is too old to base a verdict on."""


class GateFailed(InspectionError):
    """An exported candidate, or a retrained challenger, was not good enough."""


class StationError(InspectionError):
    """Station settings are not valid."""
