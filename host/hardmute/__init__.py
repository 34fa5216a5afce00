"""hardmute: the host tool for a microphone mute that its owner can prove."""
