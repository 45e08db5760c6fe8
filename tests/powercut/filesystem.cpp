#include "powercut/filesystem.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

const std::vector<FileSystem>& file_systems() {
  // No discards and nothing lazy: what formatting left undone would be done behind our back. The
  // smallest disk that each makes with a log of its usual kind.
  static const std::vector<FileSystem> all = {
      {"ext4",
       std::uint64_t{96} << 20,
       {"mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "512", "-E",
        "nodiscard,lazy_itable_init=0,lazy_journal_init=0"},
       {"e2fsck", "-f", "-n"},
       "",
       ""},
      {"xfs",
       std::uint64_t{320} << 20,
       {"mkfs.xfs", "-q", "-f", "-K"},
       {"xfs_repair", "-n"},
       "",
       "nouuid"},
      {"btrfs",
       std::uint64_t{256} << 20,
       {"mkfs.btrfs", "-q", "-f", "-K"},
       {"btrfs", "check", "--readonly"},
       "",
       ""},
  };
  return all;
}

// Btrfs reports extents in an address space of its own, of which chunks lie on the disk.
struct Chunk {
  std::uint64_t logical;
  std::uint64_t bytes;
  std::uint64_t physical;
};

std::vector<Chunk> btrfs_chunks(int fd) {
  std::vector<std::byte> memory(sizeof(btrfs_ioctl_search_args_v2) + 65536);
  auto* const args = reinterpret_cast<btrfs_ioctl_search_args_v2*>(memory.data());
  args->buf_size = 65536;
  args->key.tree_id = BTRFS_CHUNK_TREE_OBJECTID;
  args->key.min_objectid = args->key.max_objectid = BTRFS_FIRST_CHUNK_TREE_OBJECTID;
  args->key.min_type = args->key.max_type = BTRFS_CHUNK_ITEM_KEY;
  args->key.max_offset = args->key.max_transid = ~std::uint64_t{0};
  args->key.nr_items = 1024;
  if (::ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, args) != 0) throw_errno("search for btrfs chunks");
  std::vector<Chunk> chunks;
  const std::byte* at = memory.data() + sizeof *args;
  for (std::uint32_t i = 0; i < args->key.nr_items; ++i) {
    btrfs_ioctl_search_header header;
    std::memcpy(&header, at, sizeof header);
    btrfs_chunk chunk;
    std::memcpy(&chunk, at + sizeof header, sizeof chunk);
    at += sizeof header + header.len;
    // Files' data is in single copies here; the copies of the rest are not wanted.
    if (chunk.num_stripes != 1) continue;
    chunks.push_back({header.offset, chunk.length, chunk.stripe.offset});
  }
  return chunks;
}

void add_extents(int fd, Extents& extents) {
  constexpr std::uint32_t kAtOnce = 128;
  std::vector<std::byte> memory(sizeof(fiemap) + kAtOnce * sizeof(fiemap_extent));
  auto* const map = reinterpret_cast<fiemap*>(memory.data());
  for (std::uint64_t start = 0;;) {
    std::memset(memory.data(), 0, memory.size());
    map->fm_start = start;
    map->fm_length = ~std::uint64_t{0} - start;
    map->fm_extent_count = kAtOnce;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0) throw_errno("FIEMAP");
    for (std::uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      start = extent.fe_logical + extent.fe_length;
      constexpr std::uint32_t kNowhere = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
                                         FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_NOT_ALIGNED;
      if ((extent.fe_flags & kNowhere) == 0) {
        extents.emplace_back(extent.fe_physical, extent.fe_physical + extent.fe_length);
      }
      if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) return;
    }
    if (map->fm_mapped_extents == 0) return;
  }
}

Extents on_disk(const Extents& logical, const std::vector<Chunk>& chunks) {
  Extents physical;
  for (const auto& [begin, end] : logical) {
    for (const Chunk& chunk : chunks) {
      if (begin < chunk.logical || end > chunk.logical + chunk.bytes) continue;
      const std::uint64_t at = chunk.physical + (begin - chunk.logical);
      physical.emplace_back(at, at + (end - begin));
    }
  }
  return physical;
}

}  // namespace

const FileSystem* find_file_system(const std::string& name) {
  for (const FileSystem& fs : file_systems()) {
    if (name == fs.name) return &fs;
  }
  return nullptr;
}

void make_file_system(const FileSystem& fs, const std::string& device) {
  std::vector<std::string> words = fs.make;
  words.push_back(device);
  const Finished made = run_command(words, std::chrono::seconds(60));
  if (!made.ok()) throw Trouble(words.front() + " failed: " + made.output);
}

std::string ask_checker(const FileSystem& fs, const std::string& device) {
  std::vector<std::string> words = fs.check;
  words.push_back(device);
  if (!has_command(words.front())) return {};
  std::string text = run_command(words, std::chrono::seconds(60)).output;
  constexpr std::size_t kKept = 400;
  if (text.size() > kKept) text.erase(0, text.size() - kKept);
  for (char& c : text) {
    if (c == '\n') c = '|';
  }
  return text;
}

void forget_device(const FileSystem& fs, const std::string& device) noexcept {
  if (std::string_view(fs.name) != "btrfs") return;
  const Fd control(::open("/dev/btrfs-control", O_RDWR | O_CLOEXEC));
  if (!control) return;
  btrfs_ioctl_vol_args args{};
  std::strncpy(args.name, device.c_str(), sizeof args.name - 1);
  ::ioctl(control.get(), BTRFS_IOC_FORGET_DEV, &args);
}

Extents extents_of_files(const FileSystem& fs, const std::string& folder) {
  Extents extents;
  DIR* const dir = ::opendir(folder.c_str());
  // A life may end before there is a journal.
  if (dir == nullptr && errno == ENOENT) return extents;
  if (dir == nullptr) throw_errno(folder);
  const Fd dir_fd(::fcntl(::dirfd(dir), F_DUPFD_CLOEXEC, 3));
  while (const dirent* entry = ::readdir(dir)) {
    const Fd file(::openat(dir_fd.get(), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (file && entry->d_type == DT_REG) add_extents(file.get(), extents);
  }
  ::closedir(dir);
  if (std::string_view(fs.name) == "btrfs") return on_disk(extents, btrfs_chunks(dir_fd.get()));
  return extents;
}

}  // namespace diorite::powercut
