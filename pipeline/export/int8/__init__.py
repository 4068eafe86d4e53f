"""INT8 that holds: ranges, layouts, and the search for what may be quantised.

`ranges.py` says how large activations become; `layouts.py` writes that into a graph as TensorRT or a CPU likes it; `noise.py`
measures what it does to answers; `repair.py` searches for as much INT8 as the gate allows; `tune.py` fine-tunes a network for it;
`frontier.py` shows what was tried.
"""
