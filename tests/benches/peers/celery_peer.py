"""The same work with Celery: N tasks that give 1, their sum; a task for each item, and in chunks.

celery_peer.py ITEMS CHUNKED SIZE..: starts Redis and a worker of two processes, both fresh, and prints one JSON: items per second for
each size of a chunk, 1 for a task of its own for each item (of which there are ITEMS, else CHUNKED). Times are from the submission of
the first task to the sum, with workers that are up and warm.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from celery import Celery, group

from timing import timed

directory = os.environ.get("PEER_DIRECTORY")
if directory is None:
    directory = os.environ["PEER_DIRECTORY"] = tempfile.mkdtemp(prefix="braid-peer-")
url = f"redis+socket://{directory}/redis.sock"
app = Celery("celery_peer", broker=url, backend=url)
app.conf.update(worker_prefetch_multiplier=64, result_expires=600, task_ignore_result=False)


@app.task(name="noop")
def noop(item):
    return 1


def main():
    items, chunked, *sizes = map(int, sys.argv[1:])
    redis = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", f"{directory}/redis.sock", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    worker = None
    try:
        begun = time.monotonic()
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-c", "2", "-l", "ERROR", "--without-gossip", "--without-mingle"],
            cwd=os.path.dirname(os.path.abspath(__file__)),
            stdout=subprocess.DEVNULL,
        )
        assert noop.delay(0).get(timeout=60) == 1
        start = time.monotonic() - begun
        group(noop.s(item) for item in range(500)).apply_async().get()
        rates = {"1": timed(lambda: sum(group(noop.s(item) for item in range(items)).apply_async().get()), items)}
        for size in sizes:
            def chunks():
                return sum(sum(part) for part in noop.chunks(((item,) for item in range(chunked)), size).apply_async().get())

            rates[str(size)] = timed(chunks, chunked)
        import celery

        print(json.dumps({"name": "Celery", "version": celery.__version__, "start": start, "rates": rates}))
    finally:
        for process in (worker, redis):
            if process is not None:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
