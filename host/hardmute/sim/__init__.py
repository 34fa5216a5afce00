"""A simulated board: the real firmware on a physical model of button, relays, lamp and supply."""
