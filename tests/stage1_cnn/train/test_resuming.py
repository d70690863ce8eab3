"""A training that is killed again and again ends as if nothing had been."""

import pytest
from programs import run_program

LIVES = 20
pytestmark = pytest.mark.faults


@pytest.mark.fault("SIGKILL at any step", "goes on", "Disks, signals, kills")
def test_twenty_kills_at_random_steps_change_no_byte(tmp_path):
    found = run_program("cut_off", tmp_path, LIVES)
    assert found["killed"] == [None] * LIVES
    assert found["resumed"] == found["through"]
    assert found["through"]["raw"] != found["through"]["ema"]
