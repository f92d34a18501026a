"""Data sets and text, on the host and on the device."""
