"""Speed and size figures (`make bench`): printed as a table, written as JSON, never asserted."""
