import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPPED = """
import os, sys, time
from pathlib import Path
from tests.chaos.stepped_clock import SteppedClock, install

clock = SteppedClock(Path(sys.argv[1]))
install(clock.path)
clock.step(os.getpid(), int(sys.argv[2]))
print(time.time(), time.time_ns())
child = os.fork()
print(time.time(), flush=True) if child == 0 else os.wait()
"""


@pytest.mark.parametrize("by_s", [86_400, -86_400])
def test_the_clock_of_one_process_is_stepped_and_not_that_of_its_child(tmp_path: Path, by_s: int) -> None:
    before = time.time()
    words = [sys.executable, "-c", STEPPED, str(tmp_path / "clock"), str(by_s)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.splitlines()
    after = time.time()

    seconds, nanoseconds = map(float, told[0].split())
    of_child = float(told[1])
    assert before + by_s <= seconds <= nanoseconds / 1e9 <= after + by_s
    assert before <= of_child <= after
