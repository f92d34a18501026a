"""From training curves to numbers: results, scores, and what many of them say together."""
