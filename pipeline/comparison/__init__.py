"""`pipeline compare`: whether transfer pays here is measured by group, not assumed."""
