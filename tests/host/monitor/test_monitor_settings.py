"""The settings of the monitor: what they mean, each mistake in one sentence, and their page."""

from __future__ import annotations

import dataclasses
import os
import re
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hardmute.model.errors import UsageError
from hardmute.monitor.settings import (
    KEYS,
    Broker,
    Hooks,
    MetricsSettings,
    MqttSettings,
    OsMute,
    PageSettings,
    Remind,
    Settings,
    load,
)
from hardmute.system import paths

DOC = (Path(__file__).parents[3] / "docs" / "monitor.md").read_text("utf-8")
# `key` | what it does | `default`, as TOML; "none" where nothing stands for it
ROW = re.compile(r"(?m)^\| `(\w+)` \| .* \| (?:`(.*)`|none) \|$")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "monitor.toml"


def loaded(file: Path, text: str) -> Settings:
    file.write_bytes(text.encode())
    return load(file)


def refusal(file: Path, text: str) -> str:
    """The sentence that refuses ``text``, without the file's name."""
    with pytest.raises(UsageError) as refused:
        loaded(file, text)
    said = str(refused.value)
    assert said.startswith(str(file))
    assert "\n" not in said
    assert said.endswith(".")
    return said.removeprefix(str(file)).removeprefix(", ")


def test_no_file_means_the_defaults(file: Path) -> None:
    assert load(file) == Settings()
    assert loaded(file, "") == Settings()


def test_every_key(file: Path) -> None:
    text = """\
# A comment, and all that can be set.
boards = ["Meeting room 2", "e6614c311b8a4f2d", "Meeting room 2"]
notify = false
remind_after = "1.5 h"
remind_unused = "90s"
quiet = "18:00-08:00"
on_live = ["notify-send", "it is live", ""]
on_muted = ["a"]
on_fault = ["b", "--flag"]
on_unknown = ["c"]
on_incident = ["d"]
webhook = "https://example.org:8443/hook?id=1"
webhook_secret_file = "/etc/hook.secret"
os_mute_follows = true
os_mute_cuts = true
page = true
page_address = "[::]:8443"
page_names = ["Desk.example.org", "desk"]
page_certificate = "/etc/page.pem"
page_key = "/etc/page.key"
metrics = true
metrics_file = "/run/textfiles/hardmute.prom"
mqtt = "mqtts://[2001:db8::1]:8884/"
mqtt_name = "desk-2"
mqtt_user = "hardmute"
mqtt_password_file = "/etc/mqtt.password"
mqtt_ca_file = "/etc/ca.pem"
mqtt_discovery = "ha"
mqtt_plain = true
"""
    assert loaded(file, text) == Settings(
        boards=("Meeting room 2", "e6614c311b8a4f2d"),
        notify=False,
        remind=Remind(after_s=5400.0, unused_s=90.0, quiet=(time(18), time(8))),
        hooks=Hooks(
            on_live=("notify-send", "it is live", ""),
            on_muted=("a",),
            on_fault=("b", "--flag"),
            on_unknown=("c",),
            on_incident=("d",),
            url="https://example.org:8443/hook?id=1",
            secret_file="/etc/hook.secret",  # noqa: S106 (a file)
        ),
        os_mute=OsMute(follow=True, lead=True),
        page=PageSettings(
            True,
            ("::", 8443),
            ("desk.example.org", "desk"),
            "/etc/page.pem",
            "/etc/page.key",
        ),
        metrics=MetricsSettings(True, "/run/textfiles/hardmute.prom"),
        mqtt=MqttSettings(
            Broker("2001:db8::1", 8884, tls=True),
            "desk-2",
            "hardmute",
            "/etc/mqtt.password",
            "/etc/ca.pem",
            "ha",
            plain=True,
        ),
    )
    assert all(f"\n{key} = " in text for key in KEYS)


def test_every_field_has_its_key() -> None:
    parts: dict[str, type[Any]] = {
        "remind": Remind,
        "hooks": Hooks,
        "os_mute": OsMute,
        "page": PageSettings,
        "metrics": MetricsSettings,
        "mqtt": MqttSettings,
    }
    fields = {("", one.name) for one in dataclasses.fields(Settings)} - {
        ("", part) for part in parts
    }
    for part, kind in parts.items():
        fields |= {(part, one.name) for one in dataclasses.fields(kind)}
    assert sorted((key.part, key.field) for key in KEYS.values()) == sorted(fields)


def test_the_page_has_every_key_and_its_default(file: Path) -> None:
    rows = ROW.findall(DOC)
    assert [name for name, _ in rows] == list(KEYS)
    text = "".join(f"{name} = {default}\n" for name, default in rows if default)
    assert loaded(file, text) == Settings()


def test_the_example_on_the_page_can_be_used(file: Path) -> None:
    examples = re.findall(r"(?s)```toml\n(.*?)```", DOC)
    assert examples
    for text in examples:
        assert loaded(file, text) != Settings()


def test_a_home_of_its_own_has_the_settings(home: Path) -> None:
    assert paths.settings_file() == home / "monitor.toml"


def test_a_file_saved_by_an_editor_of_windows(file: Path) -> None:
    assert loaded(file, "\ufeffnotify = false\r\n") == Settings(notify=False)
    assert refusal(file, "\ufeff\r\n# x\r\nnotify = 3\r\n").startswith("line 3: notify must be")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('quiet = "25:00-08:00"', 'different times, as "18:00-08:00", not "25:00-08:00".'),
        ('quiet = "18:00"', "line 1: quiet must be two different times"),
        ('quiet = "18:00-18:00"', "line 1: quiet must be two different times"),
        ("quiet = 18:00:00", 'not "18:00:00".'),
        ('notify = "yes"', 'line 1: notify must be true or false, not "yes".'),
        ("notify = 1", "not 1."),
        ('\n\nremind_after = "0 s"', "line 3: remind_after must be a time such as"),
        ("remind_after = 10", "not 10."),
        ('remind_after = "never"', 'not "never".'),
        ('remind_after = "9999 h"', "from 10 s to 24 h"),
        ('remind_after = "10 minutes"', 'not "10 minutes".'),
        ('remind_unused = "soon"', '"never", or a time such as'),
        ('boards = "a"', '1: boards must be a list of names, as ["Meeting room 2"], not "a"'),
        ('boards = ["Kitchen", " "]', 'not ["Kitchen", " "].'),
        ("on_live = []", "line 1: on_live must be a list of a program and its arguments"),
        ('on_live = [""]', 'not [""].'),
        ('on_live = ["", "x"]', 'not ["", "x"].'),
        ('on_live = ["x\\u0000"]', "line 1: on_live must be"),
        ('on_live = ["x", 3]', 'not ["x", 3].'),
        ('on_live = "notify-send live"', 'as ["notify-send", "live"], not "notify-send live".'),
        ('webhook = "example.org"', "line 1: webhook must be an address"),
        ('webhook = "file:///etc/passwd"', "line 1: webhook must be an address"),
        ('webhook = "https://example.org:99999/"', "line 1: webhook must be an address"),
        ('webhook = "https://[::1/"', "line 1: webhook must be an address"),
        ('webhook = "https://a/\\n"', "line 1: webhook must be an address"),
        ('webhook = "https://a/"\nwebhook_secret_file = "hook.secret"',
         "line 2: webhook_secret_file must be a file with its whole path"),
        ('webhook_secret_file = "/x"', "line 1: webhook_secret_file is the secret of a webhook:"),
        ("remind_aftr = 1", 'is no setting "remind_aftr" (did you mean remind_after?).'),
        ("xy = 1", 'line 1: there is no setting "xy": docs/monitor.md has them all.'),
        ('"x\\u001b[1m" = 1', 'line 1: there is no setting "x\\u001b[1m": docs/monitor.md'),
        ('"notify\\n" = true', 'there is no setting "notify\\n" (did you mean notify?).'),
        ('metrics_file = "/run/x.txt"', "1: metrics_file must be a file with its whole path that"),
        ('metrics_file = "/run/.prom"', "1: metrics_file must be a file with its whole path that"),
        ('metrics_file = "x.prom"', "1: metrics_file must be a file with its whole path that"),
        ('page_address = "8437"', 'must be an IP address and a port, as "127.0.0.1:8437", not'),
        ('page_address = "example.org:80"', "line 1: page_address must be an IP address"),
        ('page_address = "::1:80"', "line 1: page_address must be an IP address"),
        ('page_address = "[127.0.0.1]:80"', "line 1: page_address must be an IP address"),
        ('page_address = "127.0.0.1:65536"', "line 1: page_address must be an IP address"),
        ('page_address = "127.0.0.1:٣"', "line 1: page_address must be an IP address"),
        ('page_names = ["a b"]', "line 1: page_names must be a list of host names"),
        ('page_names = ["evil:80"]', "line 1: page_names must be a list of host names"),
        ('page_key = "/x"', "line 1: page_certificate and page_key belong together"),
        ('page_certificate = "/x"', "line 1: page_certificate and page_key belong together"),
        ('page_address = "0.0.0.0:80"', "line 1: 0.0.0.0 can be reached from other computers"),
        ('page = true\npage_address = "[::]:80"', "line 2: :: can be reached from other comp"),
        ('page_address = "10.0.0.2:80"\npage_names = ["x"]', "set page_certificate and page_key"),
        ('page_key = "/x"\npage_certificate = "/x"\npage_address = "0.0.0.0:443"',
         "line 3: 0.0.0.0 is no address that a browser can call: set page_names as well."),
        ("# first\n[hooks]\non_live = ['x']", 'line 2: there is no setting "hooks"'),
        ("notify = true\n[[boards]]\nname = 'x'", "line 2: boards must be a list of names"),
        ("[remind.after]\nnotify = 3", 'line 1: there is no setting "remind"'),
        ("[notify]\nboards = 3", "line 1: notify must be true or false, not a table."),
        ("notify.x = 3", "line 1: notify must be true or false, not a table."),
        ('boards = [\n  "a",\n  3,\n]', "line 1: boards must be"),
        ('boards = [\n  "a",\n]\nquiet = ""', "line 4: quiet must be"),
        ('webhook = """\nnotify = 3\n"""\nnotify = 4', "line 1: webhook must be"),
        ('boards = ["""\nnotify = 3\n"""]\nnotify = 4', "line 4: notify must be"),
        ("notify = true\nnotify = false", "line 2: this is not TOML (Cannot overwrite a value)."),
        ("notify = yes", "line 1: this is not TOML (Invalid value)."),
        ("\nboards = [", "line 2: this is not TOML (Invalid value)."),
        ("notify", "line 1: this is not TOML ("),
        ("boards = " + "[" * 5000, "is not TOML that can be read: shorten it."),
        ("notify = " + "9" * 5000, "is not TOML that can be read: shorten it."),
        ("notify = 0x" + "f" * 8000, "must be true or false, not such a long number."),
        ("#" * 17_000, "is larger than 16 KiB or 1000 lines: it cannot be the settings."),
        ("\n" * 1001, "is larger than 16 KiB or 1000 lines: it cannot be the settings."),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence_with_its_line(file: Path, text: str, said: str) -> None:
    assert said in refusal(file, text)


def test_what_is_no_text_is_told_with_its_line(file: Path) -> None:
    file.write_bytes(b"notify = true\nboards = ['\xff']\n")
    with pytest.raises(UsageError, match=r"line 2: this is not UTF-8: save it as UTF-8\.$"):
        load(file)


def test_what_cannot_be_read_is_told(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UsageError, match=r"monitor\.toml cannot be read \(Is a directory\)\.$"):
        load(file)
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(UsageError, match=r"cannot be read \(it is not a file\)\.$"):
        load(file)


HOOK = "on_live = ['notify-send', 'live']\n"


@pytest.mark.parametrize("text", [HOOK, "webhook = 'https://example.org/'"])
def test_hooks_that_everybody_can_change_are_refused(file: Path, text: str) -> None:
    loaded(file, text)
    file.chmod(0o602)
    said = refusal(file, text)
    assert "has hooks, and every user can change it: make the file and its folder yours" in said
    assert loaded(file, "notify = false") == Settings(notify=False)


def test_hooks_in_a_folder_that_everybody_can_change_are_refused(file: Path) -> None:
    loaded(file, HOOK)
    file.parent.chmod(0o777)
    assert "every user can change it" in refusal(file, HOOK)
    # As /tmp is: nobody else can replace the file there.
    file.parent.chmod(0o1777)
    assert load(file).hooks.on_live == ("notify-send", "live")


def test_hooks_behind_a_link_into_such_a_folder_are_refused(file: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "monitor.toml").write_text(HOOK)
    file.symlink_to(shared / "monitor.toml")
    assert load(file).hooks.on_live
    shared.chmod(0o777)
    with pytest.raises(UsageError, match="every user can change it"):
        load(file)


def test_hooks_of_another_user_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(file, HOOK)
    if os.geteuid() == 0:
        # What is root's is trusted.
        os.chown(file, 4321, 4321)
    else:
        another = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: another)
    assert "another user can change it" in refusal(file, HOOK)


# Lines of which some mean something.
WORDS = st.sampled_from([*KEYS, "true", '"10 min"', "[[", '"""', *"3[]='\"\\#,.{}\n"])
VALUES = r"""
true 1 nan [] {} "" 1979-05-27 ['a'] [1,{a=1}] "18:00-25:00" 'never' [[[]]] "http://[/"
"~nobody_of_that_name/x" """
LINES = st.lists(
    st.builds(
        "{} = {}".format,
        st.sampled_from([*KEYS, "x", "notify.x", '"a b"']),
        st.sampled_from([*VALUES.split(), '"""\nx\n"""']),
    ),
    max_size=4,
).map("\n".join)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(str.encode),
        st.lists(st.one_of(WORDS, st.text(max_size=3)), max_size=12).map(" ".join).map(str.encode),
        LINES.map(str.encode),
    )
)
@example(b"[a]\n" * 2)
def test_no_file_ends_in_anything_but_settings_or_a_sentence(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        assert isinstance(load(file), Settings)
    except UsageError as error:
        said = str(error)
        assert said.startswith(str(file))
        assert said.isprintable()
        assert said.endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('mqtt = "broker.local"', "line 1: mqtt must be an address without user and password, as"),
        ('mqtt = "mqtts://h:0"', 'not "mqtts://h:0".'),
        ('mqtt = "mqtts://h/x"', "line 1: mqtt must be"),
        (
            'mqtt = "mqtt://192.0.2.1"',
            "without TLS others can read and change what 192.0.2.1",
        ),
        ('\nmqtt_user = "me"', "line 2: mqtt_user is for a broker: set mqtt as well."),
        (
            'mqtt = "mqtts://h"\nmqtt_password_file = "/p"',
            "line 2: mqtt_password_file needs a user: set mqtt_user as well.",
        ),
        (
            'mqtt = "mqtt://[::1]"\nmqtt_ca_file = "/p"',
            "line 2: mqtt_ca_file is for TLS: begin mqtt with mqtts://.",
        ),
        ('mqtt_name = "a/b"', "line 1: mqtt_name must be up to 40 of"),
        ('mqtt_discovery = "#"', "line 1: mqtt_discovery must be up to 40 of"),
        ('mqtt_password = "x"', "(did you mean mqtt_password_file?)."),
    ],
)
def test_mistakes_about_the_broker(file: Path, text: str, said: str) -> None:
    assert said in refusal(file, text)


def test_a_broker_of_this_computer_needs_no_tls(file: Path) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        broker = loaded(file, f'mqtt = "mqtt://{host}"').mqtt.broker
        assert broker == Broker(host.strip("[]"), 1883, tls=False)
    assert loaded(file, 'mqtt = "mqtt://h"\nmqtt_plain = true').mqtt.plain


@pytest.mark.parametrize(
    "text",
    [
        'mqtt = "mqtts://me:hunter2@broker.local"',
        'mqtt = "mqtts://me:hunter2/@broker.local"',
        'webhook = "ftp://me:hunter2@example.org/"',
        'mqtt_password_file = "hunter2"',
        'webhook_secret_file = "hunter2"',
        'mqtt_password = "hunter2"',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(file: Path, text: str) -> None:
    assert "hunter2" not in refusal(file, text)
