"""Plugins that run pywatt inside other tools (pytest, Jupyter), imported only when asked for."""
