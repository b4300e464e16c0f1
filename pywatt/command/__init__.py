"""Energy of another program while it runs."""
