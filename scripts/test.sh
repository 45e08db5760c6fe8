#!/usr/bin/env bash
# Builds diorite and runs its tests.
#
#   scripts/test.sh [--preset NAME] [ctest argument...]
#
# The preset (see CMakePresets.json) is "check" unless named: optimised like a release, with every
# assertion on.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

preset="check"
if [ "${1:-}" = "--preset" ]; then
  preset="${2:?--preset needs a name}"
  shift 2
fi

case "$preset" in
  clang14) "$root/scripts/setup.sh" clang-14 ;;
  clang | asan-clang | tsan) "$root/scripts/setup.sh" clang-19 ;;
  *) "$root/scripts/setup.sh" ;;
esac

cd -- "$root"
cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$(nproc)" \
  --target all --target all_verify_interface_header_sets
ctest --preset "$preset" --parallel "$(nproc)" "$@"
