"""TensorRT 8.5 to 11, on Jetsons and GPUs, by what the installed module has and not by its number.

`engine.py` opens a model and answers; `build.py` makes engines on this device; `cache.py` keeps them beside the bundle;
`versions.py` is all that differs between versions; `quantised.py` takes Q/DQ pairs out; `layers.py` asks what really runs;
`cuda.py` is the little of the CUDA driver that is needed.
"""

from deploy.engines.tensorrt.engine import TensorRTEngine

__all__ = ["TensorRTEngine"]
