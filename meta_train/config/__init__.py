"""What a run is, as plain values, and the objects that they stand for."""
