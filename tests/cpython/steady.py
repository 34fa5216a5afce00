"""How Hypothesis runs here."""

from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine.
STEADY = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
