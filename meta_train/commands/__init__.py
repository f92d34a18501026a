"""The commands `lopt-train` and `lopt-export`."""
