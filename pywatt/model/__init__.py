"""Torch modules: tree, hooks, CUDA timeline, batches, state that must be as it was."""
