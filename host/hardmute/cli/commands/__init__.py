"""The commands, and what each prints."""
