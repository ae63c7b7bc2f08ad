"""The same work with Dask: a function that gives 1 for each of N numbers, their sum; a task for each item, and in partitions of a bag.

dask_peer.py ITEMS CHUNKED SIZE..: starts a cluster of two processes and prints one JSON: items per second for each size of a partition,
1 for a future of its own for each item (of which there are ITEMS, else CHUNKED). Times are from the call to the sum, with workers that are
up and warm.
"""

import json
import sys
import time

import dask
import dask.bag
from distributed import Client, LocalCluster

from timing import timed


def noop(item):
    return 1


def main():
    items, chunked, *sizes = map(int, sys.argv[1:])
    begun = time.monotonic()
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, Client(cluster) as client:
        assert client.submit(noop, 0).result() == 1
        start = time.monotonic() - begun
        client.gather(client.map(noop, range(500)))
        rates = {"1": timed(lambda: sum(client.gather(client.map(noop, range(items), pure=False))), items)}
        for size in sizes:
            bag = dask.bag.range(chunked, npartitions=-(-chunked // size))
            rates[str(size)] = timed(lambda: bag.map(noop).sum().compute(), chunked)
        print(json.dumps({"name": "Dask", "version": dask.__version__, "start": start, "rates": rates}))


if __name__ == "__main__":
    main()
