"""Named intervals: spans of what ran, windows that users mark. Below: sampling."""
