"""Values: what boards say, verdicts, errors, clocks. No input, no output."""
