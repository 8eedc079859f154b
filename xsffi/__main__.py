"""``python -m xsffi``: the command of the same name."""

import sys

from .cli.main import main

sys.exit(main())
