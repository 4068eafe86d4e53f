"""Edge wing: a bundle in, verdicts out. Never imports torch, timm or `pipeline`."""

import os

# onnxruntime's packages for Linux would keep a device id and a database of events to send; a line's machine calls nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
