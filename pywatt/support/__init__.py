"""What every room needs and has no energy in it: checks, files, progress, signals, text."""
