#!/usr/bin/env bash
# Two builds of the program beside each other, in turn, each time on a new Redis:
# operations a second and the node's processor time for each, and the median of the
# rounds' ratios. Both serve operators; the second one is scraped every five seconds.
#
#   DRIVE=/tmp/bench/drive bench/beside.sh 9 /tmp/bench/before /tmp/bench/after \
#     --queues 64 --depth 0 --connections 256 --mix enqueue=1 --duration 8s
set -euo pipefail

rounds=$1 before=$2 after=$3
shift 3
export NOWSERVING_ADMIN_PASSWORD=${NOWSERVING_ADMIN_PASSWORD:-beside-each-other}
work=$(mktemp -d)
over() { # ends what was started
  while read -r pid; do
    kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
  done <"$work/pids"
  : >"$work/pids"
}
trap 'over; rm -rf "$work"' EXIT
: >"$work/pids"

seconds() { awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); print ($12 + $13) / hz}' "/proc/$1/stat"; }

# measure prints operations a second, and microseconds of the node's processor for each.
measure() {
  local dir=$work/node base=$((20000 + RANDOM % 10000))
  rm -rf "$dir" && mkdir "$dir"
  redis-server --port $base --bind 127.0.0.1 --save '' --appendonly yes --appendfsync always --dir "$dir" >/dev/null &
  echo $! >>"$work/pids"
  "$1" --redis-url "redis://127.0.0.1:$base" --data-dir "$dir/data" --http-addr "127.0.0.1:$((base + 1))" --ops-addr "127.0.0.1:$((base + 2))" >"$dir/log" 2>&1 &
  local node=$!
  echo $node >>"$work/pids"
  until curl -fso /dev/null "http://127.0.0.1:$((base + 2))/readyz"; do kill -0 $node || exit 1; sleep 0.05; done
  if [ "$2" = scraped ]; then
    (while sleep 5; do curl -so /dev/null "http://127.0.0.1:$((base + 2))/metrics"; done) >/dev/null &
    echo $! >>"$work/pids"
  fi
  local began
  began=$(seconds "$node")
  "${DRIVE:-drive}" --url "http://127.0.0.1:$((base + 1))" --json "${@:3}" >"$dir/result"
  awk -v cpu="$(seconds "$node")" -v began="$began" \
    -F'[:, ]+' '/"per_second"/ {rate = $3} /"operations"/ {n = $3} END {printf "%.0f %.1f\n", rate, (cpu - began) / n * 1e6}' "$dir/result"
  over
}

echo "before: /s, µs    after: /s, µs"
for ((i = 0; i < rounds; i++)); do
  if ((i % 2)); then
    b=$(measure "$after" scraped "$@")
    a=$(measure "$before" alone "$@")
  else
    a=$(measure "$before" alone "$@")
    b=$(measure "$after" scraped "$@")
  fi
  echo "$a    $b" | tee -a "$work/rounds"
done
median() { sort -n | awk '{v[NR] = $1} END {print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'; }
echo "operations a second, after by before: $(awk '{print $3 / $1}' "$work/rounds" | median)"
echo "processor time for each, after by before: $(awk '{print $4 / $2}' "$work/rounds" | median)"
