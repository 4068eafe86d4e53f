"""From what the line collected to a model that may replace the old one."""
