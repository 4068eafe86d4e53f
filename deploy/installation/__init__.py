"""What this device is, which model of a bundle it runs fastest and still answers as the lab did, and the record of that choice.

`install.py` holds the commands; `trial.py` opens a model and checks its answers; `measure.py` times what agrees; `choice.py` is
the rule and its record, and `resolve.py` what `inspector run` makes of it. `machine.py` and `doctor.py` say what is here,
`runtimes.py` which engines, `jetson.py` what only a Jetson has.
"""
