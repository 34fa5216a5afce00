"""The page of the monitor, and its API. Nothing here connects a line."""
