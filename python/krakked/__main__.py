"""`python -m krakked`: the command, where its script is not on the path."""

import sys

from krakked._cli.main import main

sys.exit(main())
