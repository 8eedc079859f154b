"""``python -m xsffi``: the command of the same name."""

import sys

from .cli.start import main

sys.exit(main())
