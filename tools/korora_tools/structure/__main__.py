# SPDX-License-Identifier: Apache-2.0
"""``python3 -m korora_tools.structure``."""

from __future__ import annotations

import argparse

from korora_tools.structure import figures


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python3 -m korora_tools.structure',
        description='Print four figures of the structure of '
        f'{figures.PACKAGE} as one line of JSON.',
    )
    parser.add_argument(
        '--details',
        action='store_true',
        help='list what the figures count, too',
    )
    options = parser.parse_args()
    found = figures.measure()
    print(found)
    if options.details:
        for line in found.details():
            print(line)


if __name__ == '__main__':
    main()
