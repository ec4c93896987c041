"""train.py as small as tiny_run makes it, for launchers that start a script."""

import sys

import tiny_run

import train

if __name__ == "__main__":
    tiny_run.shrink(setattr)
    tiny_run.share_processors(setattr)
    sys.exit(train.main(sys.argv[1:]))
