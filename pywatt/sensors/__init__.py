"""What can be read on this machine, and which sensors to open. Below: support."""
