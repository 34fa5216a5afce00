"""What runs for long: it follows boards."""
