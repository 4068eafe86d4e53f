"""Starter weights of the project's own: a backbone pre-trained on pictures made by formulas, without a single real one."""
