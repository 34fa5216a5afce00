"""One meeting with a board: what is asked, checked and kept."""
