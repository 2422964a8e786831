"""`python -m dataflows` is the `signal-engine` command."""

from dataflows.cli import main

if __name__ == "__main__":
    main()
