#!/bin/sh
# Runs a command with DIORITE_TEST_DIR on a fresh XFS on a loop device. Needs root and mkfs.xfs;
# without them, or where the kernel has no XFS, it ends with 77, which ctest shows as skipped.
#
#   on_xfs.sh WORK_DIR COMMAND [ARGUMENT...]
set -u

skip() {
  echo "skipped: $1"
  exit 77
}

work=$1
shift
[ "$(id -u)" -eq 0 ] || skip "not root"
PATH=$PATH:/usr/sbin:/sbin
for tool in mkfs.xfs losetup mount umount; do
  command -v "$tool" > /dev/null || skip "there is no $tool"
done

image=$work/on_xfs.$$.img
mount_point=$work/on_xfs.$$
loop=

clean_up() {
  umount "$mount_point" 2> /dev/null
  [ -z "$loop" ] || losetup -d "$loop" 2> /dev/null
  rmdir "$mount_point" 2> /dev/null
  rm -f "$image"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

mkdir -p "$mount_point" || exit 1
truncate -s 512M "$image" || exit 1
mkfs.xfs -q -f "$image" || skip "mkfs.xfs cannot make a file system of 512 MiB"
loop=$(losetup --find --show "$image") || skip "there is no free loop device"
mount -t xfs "$loop" "$mount_point" || skip "the kernel does not mount XFS"
DIORITE_TEST_DIR=$mount_point "$@"
