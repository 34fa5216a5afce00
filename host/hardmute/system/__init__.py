"""This computer: where files are, and how they are made."""
