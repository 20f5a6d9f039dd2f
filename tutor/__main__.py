"""`python -m tutor` is `study-tutor`."""

import sys

from tutor.cli import main

sys.exit(main())
