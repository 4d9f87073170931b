"""``python -m pmx_ray.llm.local``: serve the model until the process is told to stop."""

import argparse
import sys

from pmx_ray.errors import PmxError
from pmx_ray.llm.local.serving import PORT, serve


def main() -> int:
    """Read the options and serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pmx_ray.llm.local", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="0 for a free one")
    parser.add_argument("--n-parallel", type=int, default=2, help="answers written at once")
    parser.add_argument("--max-waiting", type=int, default=64, help="requests that may wait")
    chosen = parser.parse_args()
    try:
        serve(port=chosen.port, n_parallel=chosen.n_parallel, max_waiting=chosen.max_waiting)
    except PmxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
