"""Energy of a block of code."""
