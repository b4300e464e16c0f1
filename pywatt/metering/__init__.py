"""How meters sample power, and the energy of a window from one. Below: spans, sampling."""
