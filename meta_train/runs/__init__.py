"""A run in its directory: the loop, its checkpoints, and how theta is judged on the way."""
