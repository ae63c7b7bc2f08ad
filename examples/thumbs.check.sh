#!/bin/sh
# Whether the thumbs of examples/thumbs.yaml are what the formula of its photos says, pixel by pixel: sh examples/thumbs.check.sh [DIR]
set -eu
export LC_ALL=C
cd "${1:-album}"
n=0
while [ "$n" -lt 24 ]; do
  awk -v n="$n" '
    function mean(which, left, top,    x, y, sum) {
      for (y = top; y < top + 4; y++)
        for (x = left; x < left + 4; x++)
          sum += which == 1 ? (x * 4 + n * 3) % 256 : which == 2 ? (y * 5 + n * 7) % 256 : ((x + y) * 2 + n) % 256
      return int(sum / 16)
    }
    BEGIN {
      print "P3"; print "16 12"; print "255"
      for (top = 0; top < 48; top += 4)
        for (left = 0; left < 64; left += 4)
          print mean(1, left, top), mean(2, left, top), mean(3, left, top)
    }' | diff - "thumbs/day-$((n % 3))/$n.ppm"
  n=$((n + 1))
done
find thumbs -name '*.ppm' -exec awk 'FNR > 3' {} + |
  awk -v thumbs="$(find thumbs -name '*.ppm' | wc -l)" '
    { light += $1 + $2 + $3 }
    END { printf "{\"thumbs\": %d, \"pixels\": %d, \"light\": %d}\n", thumbs, NR, light }'
