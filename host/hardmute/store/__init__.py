"""What is kept on disk: the log and the keys."""
