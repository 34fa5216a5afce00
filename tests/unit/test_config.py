"""Settings: validated as a whole, never in the way of starting."""

import pytest

from muteboard import config

BEST = {"mode": "push_to_talk", "max_live_s": 28_800, "palette": "colour_blind", "brightness": 100}


def test_P8_defaults_are_allowed_and_bounded():
    assert config.changed({}, config.DEFAULTS) == config.DEFAULTS
    assert config.DEFAULTS["mode"] == "toggle"
    assert config.DEFAULTS["max_live_s"] == 3600


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("mode", ["toggle", "push_to_talk"], ["", "live", 0, None, ["toggle"], True]),
        ("max_live_s", [10, 3600, 28_800], [9, 28_801, 0, -1, True, "60", None, [60], 10**14]),
        ("palette", ["default", "colour_blind"], ["dark", "", 1, None]),
        ("brightness", [10, 50, 100], [9, 0, -50, 101, False, "50", None]),
        ("locked", [], [True, 0, "no"]),
        ("", [], [0]),
    ],
)
def test_P7_P8_allowed_values(key, good, bad):
    assert [value for value in good if not config.valid(key, value)] == []
    assert [value for value in bad if config.valid(key, value)] == []


def test_one_bad_change_refuses_all_of_them():
    settings = dict(config.DEFAULTS)
    assert config.changed(settings, {"brightness": 20, "max_live_s": 5}) is None
    assert config.changed(settings, {"brightness": 20, "volume": 5}) is None
    assert settings == config.DEFAULTS
    assert config.changed(settings, {"brightness": 20}) == dict(config.DEFAULTS, brightness=20)
    assert settings == config.DEFAULTS


@pytest.mark.parametrize("settings", [config.DEFAULTS, BEST])
def test_dump_and_parse(settings):
    assert config.parse(config.dump(settings)) == (settings, None)


@pytest.mark.parametrize(
    "text",
    ['{"brightness":20}', ' { "brightness" : 20 }\r\n', '{\n    "brightness": 20\n}'],
)
def test_file_may_be_partial_and_written_by_hand(text):
    assert config.parse(text.encode()) == (dict(config.DEFAULTS, brightness=20), None)


def test_missing_file():
    assert config.parse(None) == (config.DEFAULTS, "config_missing")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 64,
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b'{"brightness":20',
        b'{"brightness":20}}',
        b'{"brightness":20,"brightness":30}',
        b'{"brightness":0}',
        b'{"brightness":20.0}',
        b'{"max_live_s":true}',
        b'{"mode":"toggle","max_live_s":86400}',
        b'{"unknown":1}',
        b"brightness = 20",
    ],
)
def test_broken_file_means_the_defaults_and_a_warning(data):
    assert config.parse(data) == (config.DEFAULTS, "config_invalid")


def test_result_is_no_alias_of_the_defaults():
    settings, _ = config.parse(None)
    settings["brightness"] = 99
    assert config.DEFAULTS["brightness"] == 50


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("mode", "toggle or push_to_talk"),
        ("palette", "default or colour_blind"),
        ("max_live_s", "10 to 28800"),
        ("brightness", "10 to 100"),
    ],
)
def test_allowed_in_words(key, words):
    assert config.allowed(key) == words
