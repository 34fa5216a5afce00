"""The fake board of the unit tests has exactly what `muteboard.boards` says a board has."""

import re

from fakeboard import FakeBoard

from muteboard import boards


def test_fake_board_has_all_names_of_the_contract_and_no_others():
    entries = re.findall(r"^(``.*``)$", boards.__doc__ or "", re.MULTILINE)
    names = {name for entry in entries for name in re.findall(r"``(\w+)", entry)}
    assert len(names) > 20
    own = {"world", "blobs", "failing", "calls", "feeds", "lamp", "received", "sent", "room"}
    own |= {
        "segments",
        "keys",
        "after",
        "cut_level",
        "refusing",
        "connected",
        "after_reset",
        "after_power_cycle",
    }
    assert {name for name in dir(FakeBoard()) if not name.startswith("_")} == names | own
