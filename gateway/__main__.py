"""`peakgate`, also as `python -m gateway`."""

import sys


def main() -> int:
    """Run one command; returns its exit code. Ctrl-C while it is imported ends it as quietly as later."""
    try:
        from gateway.cli import main as command_line

        return command_line.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
