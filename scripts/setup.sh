#!/usr/bin/env bash
# Installs what diorite's build needs and this machine lacks, through apt. Does nothing when
# everything is there.
#
#   scripts/setup.sh [clang-14] [clang-19] [format] [powercut] [valgrind] [peers]
#
# Without arguments: compiler, CMake, Ninja, liburing, fmt, Catch2, and Asio for an example and its
# test. The arguments add the clang compilers with their sanitizers, clang-format, what the power-cut
# test needs (libfuse3 and the programs of ext4, XFS and btrfs), valgrind for one test, and what the
# benchmark compares with (LevelDB and RocksDB).
set -euo pipefail

readonly kCmakeMin="3.24"

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 1
}

has_command() { command -v "$1" >/dev/null 2>&1; }

# Programs for the administrator, whose folders are not in everybody's PATH.
has_admin_command() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

has_header() {
  has_command g++ && printf '#include <%s>\n' "$1" | g++ -std=c++20 -x c++ -E - >/dev/null 2>&1
}

has_cmake() {
  has_command cmake || return 1
  local version
  version="$(cmake --version | sed -n '1s/^cmake version //p')"
  [ "$(printf '%s\n%s\n' "$kCmakeMin" "$version" | sort -V | head -n 1)" = "$kCmakeMin" ]
}

has_clang_runtime() {
  has_command "clang++-$1" || return 1
  local kind
  for kind in asan tsan; do
    [ -e "$("clang++-$1" -print-file-name="libclang_rt.$kind-$(uname -m).a")" ] || return 1
  done
}

# Prints the Debian packages that would supply what cannot be found.
missing_packages() {
  has_command g++ || echo g++
  has_cmake || echo cmake
  has_command ninja || echo ninja-build
  has_command pkg-config || echo pkg-config
  has_header liburing.h || echo liburing-dev
  has_header fmt/format.h || echo libfmt-dev
  has_header asio.hpp || echo libasio-dev
  has_header catch2/catch.hpp || has_header catch2/catch_all.hpp || echo catch2
  local set
  for set in "$@"; do
    case "$set" in
      clang-*)
        has_command "clang++-${set#clang-}" || echo "$set"
        has_clang_runtime "${set#clang-}" || echo "libclang-rt-${set#clang-}-dev"
        ;;
      format) has_command clang-format-19 || echo clang-format-19 ;;
      powercut)
        pkg-config --exists fuse3 2>/dev/null || echo libfuse3-dev
        has_admin_command fusermount3 || echo fuse3
        has_admin_command mkfs.ext4 || echo e2fsprogs
        has_admin_command mkfs.xfs || echo xfsprogs
        has_admin_command mkfs.btrfs || echo btrfs-progs
        ;;
      valgrind) has_command valgrind || echo valgrind ;;
      peers)
        has_header leveldb/db.h || echo libleveldb-dev
        has_header rocksdb/db.h || echo librocksdb-dev
        ;;
    esac
  done
}

install_packages() {
  local -a as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    has_command sudo || fail "not root and no sudo. Install as root: apt-get install $*"
    as_root=(sudo)
  fi
  local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -q -y -o DPkg::Lock::Timeout=300)
  say "installing with apt-get: $*"
  # Lists may be absent or old. When they cannot be fetched, those that are there may still do.
  "${apt[@]}" update || say "apt-get update failed; going on with the lists that are there"
  "${apt[@]}" install --no-install-recommends "$@" ||
    fail "apt-get could not install: $*. Its messages are above."
}

for argument in "$@"; do
  case "$argument" in
    clang-14 | clang-19 | format | powercut | valgrind | peers) ;;
    *) fail "unknown argument $argument (known: clang-14 clang-19 format powercut valgrind peers)" ;;
  esac
done

mapfile -t missing < <(missing_packages "$@")
if [ "${#missing[@]}" -ne 0 ]; then
  has_command apt-get ||
    fail "this machine has no apt-get. Please install what Debian calls: ${missing[*]}"
  install_packages "${missing[@]}"
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -eq 0 ] ||
    fail "still missing or too old after the installation: ${missing[*]}" \
      "(CMake must be $kCmakeMin or newer)"
fi
