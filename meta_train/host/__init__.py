"""The machine around a run: processes, signals, clocks, checksums, compiled programs, a user's own files."""
