"""Settings of all tests."""

from hypothesis import settings

# How long one example takes says nothing on a machine that is shared.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
