#!/bin/sh
# The numbers of census.yaml by find, xargs and awk alone, as one JSON object: an independent check.
# Usage: census.check.sh [DIRECTORY], by default cargo's registry sources.
set -eu
export LC_ALL=C
root=${1:-${CARGO_HOME:-$HOME/.cargo}/registry/src}
cd "$root"
# awk counts lines as grep does: a last line without its end is a line. It is started for each so many files, so it prints
# sums for a second awk to add.
find . -mindepth 3 -type f -name '*.rs' -not -path '*/.*' -print0 |
  xargs -0 awk '
    FNR == 1 { split(FILENAME, path, "/") }
    { lines += 1 }
    /(^|[^A-Za-z0-9_])unsafe([^A-Za-z0-9_]|$)/ { crates[path[3]] += 1 }
    END {
      print "lines", lines + 0
      for (crate in crates) print "crate", crates[crate], crate
    }' |
  awk -v files="$(find . -mindepth 3 -type f -name '*.rs' -not -path '*/.*' -print0 | tr -dc '\0' | wc -c)" '
    $1 == "lines" { lines += $2 }
    $1 == "crate" { all += $2; crates[$3] += $2 }
    END {
      printf "{\"files\": %.0f, \"lines\": %.0f, \"unsafe\": %.0f, \"unsafe_by_crate\": {", files, lines, all
      # The twenty largest; of equals the first by name.
      for (n = 0; n < 20; n++) {
        best = ""
        for (crate in crates)
          if (best == "" || crates[crate] > crates[best] || (crates[crate] == crates[best] && crate < best)) best = crate
        if (best == "") break
        printf "%s\"%s\": %.0f", (n ? ", " : ""), best, crates[best]
        delete crates[best]
      }
      print "}}"
    }'
