"""`hardmute flash`: from an empty board to one that answers (extra ``flash``)."""
