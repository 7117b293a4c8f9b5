"""`python -m gateway` is `peakgate`."""

import sys

from gateway.cli import main

sys.exit(main())
