"""Tables with DuckDB, on two threads.

duckdb_peer.py CSV PARQUET DIRECTORY: makes PARQUET of CSV with other texts (not timed), runs each query some times, and prints one JSON: the version, and
seconds of the fastest and the middle round, and what came out, for each name. The columns are id, text, amount, region.
"""

import json
import shutil
import statistics
import sys
import time

import duckdb

ROUNDS = 3


def main():
    csv, parquet, directory = sys.argv[1:]
    database = duckdb.connect(config={"threads": 2})
    # It would find out by itself; what is told need not be found.
    columns = "{'id': 'BIGINT', 'text': 'VARCHAR', 'amount': 'BIGINT', 'region': 'VARCHAR'}"
    table = f"read_csv('{csv}', header = true, columns = {columns})"
    # Texts that repeat would vanish in a dictionary, and a file of some megabytes tells nothing about gigabytes.
    digests = " || ".join(f"md5(id || '-{salt}')" for salt in range(4)) + " as text"
    database.execute(f"copy (select * replace ({digests}) from {table}) to '{parquet}' (format parquet, row_group_size 500000)")
    queries = {
        "csv sum": f"select count(*), sum(amount) from {table}",
        "csv group": f"select amount, count(*) from {table} group by amount order by amount",
        "parquet sum": f"select count(*), sum(amount) from '{parquet}'",
        "parquet group": f"select amount, count(*) from '{parquet}' group by amount order by amount",
    }
    told = {}
    for name, query in queries.items():
        times = []
        for _ in range(ROUNDS + 1):
            begun = time.monotonic()
            rows = database.execute(query).fetchall()
            times.append(time.monotonic() - begun)
        rows = [list(map(int, row)) for row in rows]
        told[name] = {"seconds": statistics.median(times[1:]), "rows": rows if len(rows) == 1 else len(rows)}
    # Into so many files by the hash of a column: a directory for each.
    begun = time.monotonic()
    database.execute(
        f"copy (select *, hash(amount) % 32 as part from {table}) to '{directory}' (format csv, partition_by (part), write_partition_columns false)"
    )
    told["csv shuffle"] = {"seconds": time.monotonic() - begun, "rows": None}
    shutil.rmtree(directory)
    print(json.dumps({"version": duckdb.__version__, "queries": told}))


if __name__ == "__main__":
    main()
