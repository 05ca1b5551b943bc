"""Tests of the kernel sensor on real traffic. They build their network with ``integration/lab.py``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
