"""The machine around a run: processes, signals, clocks, checksums, compiled programs, imported files."""
