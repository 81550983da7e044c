"""``python -m benchmarks.worker GROUP SIZE``: measures one group in a fresh process."""

from __future__ import annotations

import json
import sys

from benchmarks.groups import measure_group


def main(group: str, size: str) -> None:
    """Print the samples as a line of JSON."""
    print(json.dumps(measure_group(group, size)))


if __name__ == "__main__":
    main(*sys.argv[1:])
