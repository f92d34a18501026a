"""Problems: what theta is, what it is trained and validated on, and how it is exported."""
