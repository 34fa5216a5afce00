"""What can be proven: entries, chains, keys, the verifier. No input, no output."""
