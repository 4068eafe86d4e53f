"""Is it good enough, and how sure are we: metrics with intervals, calibration, thresholds, the report."""
