"""Reaching a board: ports, locks, sessions."""
