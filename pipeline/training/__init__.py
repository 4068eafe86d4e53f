"""Transfer learning: source weights, the model, its two training stages, the run folder."""
