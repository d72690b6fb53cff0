"""`python -m woof_lightning` is `woof`."""

from woof_lightning.cli import main

# Loading processes import this module again where processes are not forked (macOS, Windows).
if __name__ == "__main__":
    raise SystemExit(main())
