#!/usr/bin/env bash
# What `serin run` costs with 100 services and nothing to do: memory and processor time of Serin
# itself over half a minute. Starts 100 small services on loopback and ends everything it started.
#
#   tests/benches/idle.sh [SERIN_BINARY]
set -euo pipefail
serin=$(realpath "${1:-target/release/serin}")
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || { kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null || true; }; rm -rf "$work"' EXIT

git init -q --bare -b main "$work/shop.git"
git clone -q "$work/shop.git" "$work/clone" 2>/dev/null
mkdir "$work/clone/.serin"
for n in $(seq 1 100); do
  mkdir -p "$work/clone/s$n"
  printf 'routes: [/]\nlatency: { medianMs: 1, p99Ms: 2 }\n' > "$work/clone/s$n/service.yaml"
  cat > "$work/clone/.serin/s$n.yaml" <<P
apiVersion: serin.dev/v1
kind: CanaryPolicy
metadata: { name: s$n }
spec:
  paths: [s$n/**]
  target: { process: { command: [$serin, demo-service, --config, s$n/service.yaml] } }
  router: { proxy: { listen: "127.0.0.1:0" } }
P
done
git -C "$work/clone" add -A
git -C "$work/clone" -c user.name=Bench -c user.email=bench@example.com commit -q -m "A hundred services"
git -C "$work/clone" push -q origin HEAD:main
printf 'listen: 127.0.0.1:0\nfolder: work\nrepositories: [{ name: shop, url: "%s" }]\n' "$work/shop.git" > "$work/serin.yaml"

"$serin" run --config "$work/serin.yaml" 2> "$work/log" & pid=$!
for _ in $(seq 1 120); do
  [ "$(grep -c 'serves all traffic' "$work/log" || true)" -ge 100 ] && break
  sleep 1
done
count=$(grep -c 'serves all traffic' "$work/log" || true)
ticks() { awk '{print $14 + $15}' "/proc/$pid/stat"; }
sleep 5; before=$(ticks); sleep 30; after=$(ticks)
rss=$(awk '/VmRSS/ {print $2}' "/proc/$pid/status")
echo "$count services at rest: $((rss / 1024)) MB resident, $(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%.2f", 100 * t / hz / 30}') % of a core"
