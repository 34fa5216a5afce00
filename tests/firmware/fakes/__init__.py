"""Fakes of the modules that the board files import: real functions with the real signatures."""
