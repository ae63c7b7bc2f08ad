"""The program of a partition of flights.yaml: lines of flights in, one map of results out."""

import csv
import json
import os
import sys
from decimal import Decimal


def number(text):
    return int(float(text)) if text and text != "NA" else None


def main():
    rows = list(csv.reader(sys.stdin))
    delays, air_times, speeds, flights, planes, airports = [], [], [], [], [], []
    miles, hours, fares, extremes, long = 0, 0.0, Decimal(0), [], False
    by_carrier, miles_by_carrier, worst, flight_of = {}, {}, {}, {}
    delays_of, planes_of = {}, {}
    for row in rows:
        (_, month, day, _, _, delay, _, _, _, carrier, flight, tail, origin, dest, air_time, distance, _, _, _) = row
        delay, air_time, distance = number(delay), number(air_time), number(distance)
        tail = tail if tail and tail != "NA" else None
        miles += distance
        fares += Decimal(distance) / 100
        by_carrier[carrier] = by_carrier.get(carrier, 0) + 1
        of_carrier = miles_by_carrier.setdefault(carrier, {"sum": 0, "count": 0})
        of_carrier["sum"] += distance
        of_carrier["count"] += 1
        airports.append(dest)
        planes.append(tail)
        planes_of.setdefault(carrier, set()).add(tail)
        flights.append(f"{month}/{day} {carrier}{flight} {origin}")
        delays.append(delay)
        air_times.append(air_time)
        long = long or distance > 4000
        if delay is not None:
            delays_of.setdefault(carrier, []).append(delay)
            if delay > worst.get(carrier, -10_000):
                worst[carrier], flight_of[carrier] = delay, flight
            if delay > 1000:
                extremes.append({"carrier": carrier, "flight": int(flight), "delay": delay})
        if air_time:
            hours += air_time / 60
            speeds.append(distance / air_time * 60)
    least = min((delay for delay in delays if delay is not None), default=None)
    most = max(worst, key=lambda carrier: (worst[carrier], carrier), default=None)
    results = {
        "rows": len(rows),
        "miles": miles,
        "hours": hours,
        "fares": str(fares),
        "least_delay": least,
        "most_delay": worst.get(most),
        "worst_flight": flight_of.get(most),
        "delays": delays,
        "air_times": air_times,
        "speeds": speeds,
        "airports": sorted(set(airports)),
        "planes": planes,
        "flights": flights,
        "extremes": extremes,
        "first_row": rows[0],
        "last_row": rows[-1],
        "known": all(delay is not None for delay in delays),
        "long": long,
        "by_carrier": by_carrier,
        "miles_by_carrier": miles_by_carrier,
        "worst_by_carrier": worst,
        "flight_by_carrier": flight_of,
        "delays_by_carrier": delays_of,
        "planes_by_carrier": {carrier: sorted(tail for tail in tails if tail) for carrier, tails in planes_of.items()},
    }
    with open(os.environ["BRAID_RESULTS"], "w") as file:
        json.dump(results, file)


main()
