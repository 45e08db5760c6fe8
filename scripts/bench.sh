#!/usr/bin/env bash
# Builds the benchmark and runs it. Writes build/bench/report.md and build/bench/report.json.
#
#   scripts/bench.sh [--peers] [--quick] [diorite_bench argument...]
#
# --peers, which comes first, installs LevelDB and RocksDB, which some cases compare with.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

if [ "${1:-}" = "--peers" ]; then
  shift
  "$root/scripts/setup.sh" peers
else
  "$root/scripts/setup.sh"
fi
cd -- "$root"
cmake --preset release
cmake --build --preset release --parallel "$(nproc)" --target diorite_bench
mkdir -p build/bench
build/release/bench/diorite_bench "$@" --out build/bench
printf 'report: %s\n' "$root/build/bench/report.md"
