"""Which source weights at hand teach most about a dataset: listed, measured on frozen features, ranked."""
