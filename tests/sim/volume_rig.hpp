// VolumeRig: the file system of a simulated disk, driven without a machine.
//
// Files are filled sector by sector with one letter each, so that what is left after a power cut
// reads as a word: "AB." is a file of three sectors, the last one zero; '?' is a sector of mixed
// bytes, '!' one that cannot be read.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/sim/disk.hpp>

#include "sim/volume.hpp"

namespace diorite::test {

using sim::Choices;
using sim::DirectoryModel;
using sim::Disk;
using sim::DiskOptions;
using sim::Profile;
using sim::detail::NodeId;
using sim::detail::SyncMark;
using sim::detail::Volume;
using sim::detail::WriteId;

inline constexpr std::uint64_t kSector = 512;
inline constexpr std::uint64_t kBlock = 4096;

/// A sector for each letter; '.' is zeros.
inline std::vector<std::byte> sectors(std::string_view letters) {
  std::vector<std::byte> bytes;
  for (const char letter : letters) {
    bytes.insert(bytes.end(), kSector,
                 letter == '.' ? std::byte{0} : static_cast<std::byte>(letter));
  }
  return bytes;
}

struct VolumeRig {
  Disk disk;

  explicit VolumeRig(DiskOptions options = {}) : disk(options) {}
  Volume& volume() { return disk.volume(); }

  NodeId open(std::string_view path, std::uint32_t flags = kOpenWrite | kOpenCreate) {
    return volume().open(path, flags, 0644).node;
  }
  /// A file whose name is durable.
  NodeId make(std::string_view path) {
    const NodeId node = open(path);
    sync_names();
    return node;
  }
  void sync_names(std::string_view dir = "/") {
    const NodeId node = volume().find_dir(dir).node;
    volume().end_sync(node, volume().begin_sync(node), true);
  }
  WriteId begin(NodeId node, std::uint64_t sector, std::string_view letters) {
    const std::vector<std::byte> bytes = sectors(letters);
    const auto id = static_cast<WriteId>(
        volume().begin_write(node, sector * kSector, static_cast<std::uint32_t>(bytes.size())));
    volume().capture(id, bytes.data());
    return id;
  }
  void write(NodeId node, std::uint64_t sector, std::string_view letters, bool durable = false) {
    const WriteId id = begin(node, sector, letters);
    volume().end_write(id, static_cast<std::uint32_t>(letters.size() * kSector), durable);
  }
  void sync(NodeId node, bool with_metadata = false) {
    volume().end_sync(node, volume().begin_sync(node), with_metadata);
  }
  std::string letters(std::string_view path) const { return letters_of(disk, path); }

  static std::string letters_of(const Disk& disk, std::string_view path) {
    const NodeId node = disk.volume().find(path);
    if (node == sim::detail::kNoNode) return "-";
    std::string word;
    std::vector<std::byte> bytes(kSector);
    for (std::uint64_t at = 0; at < disk.bytes_of(path); at += kSector) {
      const std::int64_t got = disk.volume().read(node, at, bytes);
      if (got < 0) {
        word += '!';
        continue;
      }
      const auto first = static_cast<char>(bytes[0]);
      bool mixed = false;
      for (std::int64_t i = 0; i < got; ++i)
        mixed |= bytes[static_cast<std::size_t>(i)] != bytes[0];
      word += mixed ? '?' : first == '\0' ? '.' : first;
    }
    return word;
  }
};

/// Each file and what is in it: "a=AB b=".
inline std::string all_files(const Disk& disk) {
  std::string text;
  for (const std::string& path : disk.files()) {
    if (!text.empty()) text += ' ';
    text += path + '=' + VolumeRig::letters_of(disk, path);
  }
  return text;
}

/// What power cuts leave of `before`, by every decision there is.
struct Outcomes {
  std::set<std::string> seen;
  std::size_t paths = 0;  ///< how many combinations of decisions
  std::string tame;       ///< by the first answers only
};

inline Outcomes outcomes(const Disk& before, const Profile& profile) {
  Outcomes all;
  Choices choices = Choices::exhaustive();
  do {
    Disk disk = before;
    disk.volume().crash(choices, profile);
    if (all.paths == 0) all.tame = all_files(disk);
    all.seen.insert(all_files(disk));
    ++all.paths;
  } while (choices.next_path());
  return all;
}

inline Profile torn(DirectoryModel directories = DirectoryModel::ordered) {
  Profile profile = Profile::calm();
  profile.tears = true;
  profile.directories = directories;
  return profile;
}

inline Profile whole_writes() {
  Profile profile = torn();
  profile.tears = false;
  return profile;
}

using Words = std::set<std::string>;

}  // namespace diorite::test
