"""python -m alexnet_skip.runs list | prune."""

import sys

from alexnet_skip.upkeep.runs import main

sys.exit(main())
