"""python -m alexnet_skip.features list | verify | prune."""

import sys

from alexnet_skip.upkeep.cache import main

sys.exit(main())
