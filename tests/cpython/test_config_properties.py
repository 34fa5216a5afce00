"""Settings: any file at all."""

from hypothesis import given
from hypothesis import strategies as st
from steady import STEADY

from muteboard import config


@STEADY
@given(st.binary(max_size=60))
def test_P8_any_file_gives_allowed_settings(data):
    settings, _ = config.parse(data)
    assert settings.keys() == config.DEFAULTS.keys()
    assert all(config.valid(key, value) for key, value in settings.items())
