"""The configuration of a run: plain values, and the objects made from them."""
