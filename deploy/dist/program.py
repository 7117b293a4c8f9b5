"""The program that PyInstaller packs: `peakgate`."""

import sys

from gateway.__main__ import main

sys.exit(main())
