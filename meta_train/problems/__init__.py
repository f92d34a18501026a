"""What a run can be about: what theta is, what it is trained on, judged on and published as."""
