"""Energy of one run of a model, layer by layer."""
