"""Edge wing: a bundle in, verdicts out. Never imports torch, timm or `pipeline`."""
