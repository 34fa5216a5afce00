"""By ear: whether the microphone itself hears anything while it is muted (docs/by-ear.md)."""
