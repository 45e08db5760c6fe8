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
# That every public header compiles alone is asked of one g++ and one clang; ThreadSanitizer looks at
# what crosses threads.
case "$preset" in
  check | clang14) targets=(--target all --target all_verify_interface_header_sets) ;;
  tsan) targets=(--target diorite_threads) ;;
  *) targets=(--target all) ;;
esac
cmake --build --preset "$preset" --parallel "$(nproc)" "${targets[@]}"
ctest --preset "$preset" --parallel "$(nproc)" "$@"
