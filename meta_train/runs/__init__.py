"""A run and its directory: the loop, its checkpoints, and the validation of theta."""
