"""``lightning-cam VERB ...``: what was given wrongly is told in one line on stderr, with exit status 2."""

import argparse
import sys
from collections.abc import Sequence

from lightning_cam.command import explain, report, shortcuts

VERBS = {"explain": explain, "shortcuts": shortcuts, "report": report}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb.

    Args:
        arguments: As on a command line; None takes those of the process.

    Raises:
        SystemExit: With status 2 where an argument, a file or a name is wrong; with 0 after ``--help``.
    """
    parser = argparse.ArgumentParser(
        prog="lightning-cam",
        description="See where an image classifier looks, and whether it takes a shortcut.",
    )
    version = sys.modules["lightning_cam"].__version__  # an import would go up the layers
    parser.add_argument("--version", action="version", version=f"lightning-cam {version}")
    parsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        own = parsers.add_parser(
            name,
            help=verb.SUMMARY,
            description=verb.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_arguments(own)
    given = parser.parse_args(arguments)
    try:
        VERBS[given.verb].run(given)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"lightning-cam {given.verb}: {error}\n")
        raise SystemExit(2) from None
