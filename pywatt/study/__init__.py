"""Many models on one task: accuracy against electricity."""
