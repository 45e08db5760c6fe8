#!/usr/bin/env bash
# Builds the benchmark and runs it. Writes build/bench/report.md and build/bench/report.json.
#
#   scripts/bench.sh [--quick] [diorite_bench argument...]
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

"$root/scripts/setup.sh"
cd -- "$root"
cmake --preset release
cmake --build --preset release --parallel "$(nproc)" --target diorite_bench
mkdir -p build/bench
build/release/bench/diorite_bench "$@" --out build/bench
printf 'report: %s\n' "$root/build/bench/report.md"
