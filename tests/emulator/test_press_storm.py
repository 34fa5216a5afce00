"""300 random press patterns with bounce on the chip: none lost, none doubled, no cut late (P2, P3).

The patterns and the oracle that says what each must do are those of the host engine's 10,000.
"""

from __future__ import annotations

import random

import press_storm
import pytest
from workbench import Bench
