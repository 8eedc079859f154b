"""``python -m xsffi``: the same as the command ``xsffi``."""

import sys

from .cli.start import main

sys.exit(main())
