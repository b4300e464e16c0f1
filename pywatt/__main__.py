"""`python -m pywatt`: the same as `pywatt`."""

import sys

from pywatt.cli import main

sys.exit(main())
