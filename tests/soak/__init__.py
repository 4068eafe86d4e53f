"""A station for hours, under faults at random: does it lose memory, descriptors or frames? `python -m tests.soak --help`."""
