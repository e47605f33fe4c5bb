"""`python -m podpower`: the command line."""

import sys

from podpower.cli import main

sys.exit(main())
