"""The built-in demo line: machined parts, their defects and masks, and a conveyor video with its truth."""
