"""``python -m lesionlens``."""

import sys

from lesionlens.cli import main

sys.exit(main())
