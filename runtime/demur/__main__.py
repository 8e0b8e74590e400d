"""`python -m demur`."""

import sys

from demur.cli import main

sys.exit(main())
