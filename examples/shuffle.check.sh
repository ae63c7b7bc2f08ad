#!/bin/sh
# Whether what examples/shuffle.yaml wrote is what sort and awk make of its sales: sh examples/shuffle.check.sh [DIR]
set -eu
export LC_ALL=C
cd "${1:-sales}"
awk -F'"' 'FNR > 1 { sub(/^,/, "", $3); print $2 "\t" $3 }' sales/*.csv | sort | awk -F'\t' '
  function told() { if (n) printf "%s\t%d\t%d\n", shop, n, sum }
  $1 != shop { told(); shop = $1; n = 0; sum = 0 }
  { n += 1; sum += $2 }
  END { told() }' > expected.tsv
sort shops/*.tsv | diff - expected.tsv
awk -F'\t' '{ n += $2; sum += $3 } END { printf "{\"shops\": %d, \"sales\": %d, \"cents\": %d}\n", NR, n, sum }' expected.tsv
rm expected.tsv
