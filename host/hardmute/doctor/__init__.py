"""`hardmute doctor`: what may be wrong between a board and this host, and what to do about it."""
