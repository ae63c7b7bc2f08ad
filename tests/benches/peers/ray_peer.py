"""The same work with Ray: a function that gives 1 for each of N numbers, their sum; a task for each item, and tasks for so many, as its
guide advises for small work.

ray_peer.py ITEMS CHUNKED SIZE..: starts Ray on two cores and prints one JSON: items per second for each size of a task, 1 for a task of
its own for each item (of which there are ITEMS, else CHUNKED). Times are from the call to the sum, with workers that are up and warm.
"""

import json
import sys
import time

import ray

from timing import timed


def noop(item):
    return 1


@ray.remote
def several(begin, end):
    return sum(noop(item) for item in range(begin, end))


@ray.remote
def one(item):
    return noop(item)


def main():
    items, chunked, *sizes = map(int, sys.argv[1:])
    begun = time.monotonic()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        assert ray.get(one.remote(0)) == 1
        start = time.monotonic() - begun
        ray.get([one.remote(item) for item in range(500)])
        rates = {"1": timed(lambda: sum(ray.get([one.remote(item) for item in range(items)])), items)}
        for size in sizes:
            def tasks():
                begins = range(0, chunked, size)
                return sum(ray.get([several.remote(begin, min(begin + size, chunked)) for begin in begins]))

            rates[str(size)] = timed(tasks, chunked)
        print(json.dumps({"name": "Ray", "version": ray.__version__, "start": start, "rates": rates}))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
