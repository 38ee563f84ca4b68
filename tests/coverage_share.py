"""How much of what all tests reach the quick ones reach: `python -m tests.coverage_share QUICK.xml ALL.xml`.

The files are coverage's XML reports. Fails where the quick tests reach less than 95 % of the lines that all tests reach.
"""

import sys
from xml.etree import ElementTree

LEAST = 0.95


def lines(path: str) -> tuple[int, int]:
    """(lines that were reached, all lines) of a report.

    Args:
        path: of the XML file.
    """
    root = ElementTree.parse(path).getroot()
    return int(root.attrib["lines-covered"]), int(root.attrib["lines-valid"])


def main(quick: str, everything: str) -> str | None:
    """Prints both shares; an error message where the quick tests reach too little.

    Args:
        quick: report of `make test`.
        everything: report of `make test-all`.
    """
    (reached, valid), (most, _) = lines(quick), lines(everything)
    for name, count in (("make test", reached), ("make test-all", most)):
        print(f"{name:13}  {count:6,} of {valid:,} lines  {100 * count / valid:5.1f} %")
    share = reached / most
    print(f"make test reaches {100 * share:.1f} % of what make test-all reaches")
    return None if share >= LEAST else f"expected at least {100 * LEAST:.0f} %"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
