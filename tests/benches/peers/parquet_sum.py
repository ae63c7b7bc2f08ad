"""A plain loop with pyarrow over a table of Parquet, as a function for `run.function` and, with a file as argument, alone."""

import json
import sys
import time

import pyarrow.compute
import pyarrow.parquet


def total(path):
    rows, amount = 0, 0
    table = pyarrow.parquet.ParquetFile(path)
    for batch in table.iter_batches(batch_size=1 << 17, columns=["amount"]):
        rows += batch.num_rows
        amount += pyarrow.compute.sum(batch.column(0)).as_py()
    return {"rows": rows, "amount": amount}


def partition(item):
    return total(item.path)


if __name__ == "__main__":
    times = []
    for _ in range(3):
        begun = time.monotonic()
        found = total(sys.argv[1])
        times.append(time.monotonic() - begun)
    print(json.dumps({"seconds": sorted(times)[1], "rows": [[found["rows"], found["amount"]]]}))
