from __future__ import annotations

import pytest

from netlist import INLINE, Netlist


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Netlist:
    """The inline board, as its schematic has it."""
    return Netlist(INLINE / "inline.kicad_sch", tmp_path_factory.mktemp("netlist"))
