"""`python -m woof_lightning` is `woof`."""

from woof_lightning.cli import main

raise SystemExit(main())
