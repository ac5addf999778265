"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# How long one example takes says nothing on a machine that is shared.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
