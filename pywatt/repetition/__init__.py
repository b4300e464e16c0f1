"""The engine of blocks: what is run again and again until a meter has seen it, without torch."""
