#include "sim/volume.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>

#include <diorite/assert.hpp>

#include "sim/volume_state.hpp"

namespace diorite::sim::detail {
namespace {

constexpr std::uint64_t kOffsetMax =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
/// Of a file on ext4 with blocks of 4 KiB: their numbers have 32 bits.
constexpr std::uint64_t kFileBytesMax = std::uint64_t{0xffff'ffff} * kBlockBytes;

bool overflows(std::uint64_t offset, std::uint64_t bytes) noexcept {
  return offset > kOffsetMax || bytes > kOffsetMax - offset;
}

}  // namespace

FileNode& Volume::State::file_to_damage(NodeId node) noexcept {
  FileNode* const found = file(node);
  DIORITE_ASSERT(found != nullptr, "damage to a directory");
  return *found;
}

WriteInFlight& Volume::State::write(WriteId id) noexcept {
  const auto found = std::find_if(writes.begin(), writes.end(),
                                  [id](const WriteInFlight& write) { return write.id == id; });
  DIORITE_ASSERT(found != writes.end(), "a write that is not in flight");
  return *found;
}

const WriteInFlight& Volume::State::write(WriteId id) const noexcept {
  return const_cast<State*>(this)->write(id);
}

void Volume::State::end(WriteId id) {
  WriteInFlight& ended = write(id);
  const NodeId node = ended.node;
  writes.erase(writes.begin() + (&ended - writes.data()));
  --tree.inode(node).held;
  let_go(node);
}

void Volume::State::let_go(NodeId node) {
  const Inode& inode = tree.inode(node);
  if (inode.is_used()) return;
  if (!inode.is_directory()) used_blocks -= inode.file->blocks_taken();
  tree.collect(freed);
}

void Volume::State::count_space() noexcept {
  used_blocks = 0;
  for (const auto& [node, inode] : tree.inodes()) {
    if (inode.is_used() && !inode.is_directory()) used_blocks += inode.file->blocks_taken();
  }
}

std::uint64_t Volume::State::free_blocks() const noexcept {
  // A power cut can bring back a file whose space was given to another one in between.
  const std::uint64_t capacity = options.capacity_bytes / kBlockBytes;
  return capacity - std::min(capacity, used_blocks);
}

std::int32_t Volume::State::check_room(const FileNode& of, std::uint64_t offset,
                                       std::uint64_t bytes) const {
  return of.blocks_missing(offset, bytes) > free_blocks() ? -ENOSPC : 0;
}

void Volume::State::truncate(NodeId node, std::uint64_t bytes) {
  FileNode& of = *file(node);
  const std::uint64_t before = of.blocks_taken();
  of.truncate(bytes, ++sequence, freed);
  used_blocks -= before - of.blocks_taken();
}

Volume::Volume(const DiskOptions& options) : state_(std::make_unique<State>(options)) {
  DIORITE_ASSERT(std::has_single_bit(options.physical_block_bytes) &&
                     options.physical_block_bytes >= kSectorBytes &&
                     options.physical_block_bytes <= kBlockBytes,
                 "a physical block has 512 to 4096 bytes");
}

Volume::Volume(const Volume& other) : state_(std::make_unique<State>(*other.state_)) {}
Volume::~Volume() = default;

const DiskOptions& Volume::options() const noexcept { return state_->options; }
void Volume::set_read_only(bool read_only) noexcept { state_->read_only = read_only; }
bool Volume::is_read_only() const noexcept { return state_->read_only; }

void Volume::hold(NodeId node) noexcept { ++state_->tree.inode(node).held; }

void Volume::release(NodeId node) noexcept {
  Inode& inode = state_->tree.inode(node);
  DIORITE_ASSERT(inode.held > 0, "a node is released more often than it was held");
  --inode.held;
  state_->let_go(node);
}

void Volume::info(NodeId node, FileInfo& info) const {
  const Inode& inode = state_->tree.inode(node);
  const DiskOptions& options = state_->options;
  info = FileInfo{};
  info.device = 1;
  info.inode = node;
  info.physical_block_bytes = options.physical_block_bytes;
  if (inode.is_directory()) {
    // The kernel says nothing of direct I/O on directories; the device's alignment is what is left.
    info.kind = FileKind::directory;
    info.bytes = kBlockBytes;
    info.align = {options.offset_align, options.offset_align, options.offset_align,
                  AlignSource::device};
    return;
  }
  info.kind = FileKind::regular;
  info.bytes = inode.file->bytes();
  info.direct_possible = options.direct_possible;
  if (options.direct_possible) {
    info.align = {options.memory_align, options.offset_align, options.offset_align,
                  AlignSource::kernel};
  } else {
    info.align = {1, 1, 1, AlignSource::none};
  }
}

std::uint64_t Volume::bytes_of(NodeId node) const noexcept {
  const FileNode* const file = state_->file(node);
  return file == nullptr ? kBlockBytes : file->bytes();
}

std::int64_t Volume::read(NodeId node, std::uint64_t offset, std::span<std::byte> into,
                          bool direct) const {
  if (overflows(offset, into.size())) return -EINVAL;
  const FileNode* const file = state_->file(node);
  if (file == nullptr) return -EISDIR;
  const std::int64_t count = direct ? file->read_direct(offset, into) : file->read(offset, into);
  if (count <= 0) return count;
  const auto bytes = static_cast<std::uint64_t>(count);
  // What the device has where reads lie is in no block whose hash is remembered.
  const bool of_device = direct && file->reads_lie();
  state_->moved.fold(of_device ? hash_bytes(into.data(), bytes) : file->hash_of(offset, bytes));
  return count;
}

std::uint32_t Volume::room_for(NodeId node, std::uint64_t offset,
                               std::uint32_t bytes) const noexcept {
  const FileNode& file = *state_->file(node);
  std::uint64_t end = offset + bytes;
  while (end > offset && state_->check_room(file, offset, end - offset) != 0) {
    end = (end - 1) / kBlockBytes * kBlockBytes;
  }
  return end > offset ? static_cast<std::uint32_t>(end - offset) : 0;
}

std::int32_t Volume::allocate(NodeId node, std::uint64_t offset, std::uint64_t length,
                              bool keep_size) {
  if (length == 0) return -EINVAL;
  FileNode* const file = state_->file(node);
  if (file == nullptr) return -EBADF;
  if (state_->read_only) return -EROFS;
  if (overflows(offset, length) || offset + length > kFileBytesMax) return -EFBIG;
  if (const std::int32_t error = state_->check_room(*file, offset, length)) return error;
  const std::uint64_t before = file->blocks_taken();
  file->allocate(offset, length, keep_size, ++state_->sequence);
  state_->used_blocks += file->blocks_taken() - before;
  return 0;
}

std::int32_t Volume::truncate(NodeId node, std::uint64_t length) {
  if (state_->file(node) == nullptr) return -EINVAL;
  if (state_->read_only) return -EROFS;
  if (length > kFileBytesMax) return -EFBIG;
  state_->truncate(node, length);
  return 0;
}

std::int64_t Volume::begin_write(NodeId node, std::uint64_t offset, std::uint32_t bytes) {
  FileNode* const file = state_->file(node);
  if (file == nullptr) return -EBADF;
  if (overflows(offset, bytes)) return -EINVAL;
  if (state_->read_only) return -EROFS;
  if (offset + bytes > kFileBytesMax) return -EFBIG;
  if (bytes > 0) {
    if (file->has_bad_edge(offset, bytes)) return -EIO;
    if (const std::int32_t error = state_->check_room(*file, offset, bytes)) return error;
    const std::uint64_t before = file->blocks_taken();
    file->take_space(offset, bytes);
    state_->used_blocks += file->blocks_taken() - before;
  }
  WriteInFlight write;
  write.id = state_->next_write++;
  write.node = node;
  write.data.offset = offset;
  write.data.bytes = bytes;
  hold(node);
  state_->writes.push_back(std::move(write));
  return static_cast<std::int64_t>(state_->writes.back().id);
}

void Volume::capture(WriteId write, const std::byte* data) {
  WriteInFlight& in_flight = state_->write(write);
  DIORITE_ASSERT(!in_flight.captured, "a write is captured twice");
  in_flight.captured = true;
  in_flight.data.take(data);
  state_->moved.fold(in_flight.data.hash());
}

bool Volume::is_captured(WriteId write) const noexcept { return state_->write(write).captured; }

bool Volume::matches(WriteId write, const std::byte* data) const noexcept {
  return state_->write(write).data.matches(data);
}

void Volume::end_write(WriteId write, std::uint32_t bytes, bool durable) {
  WriteInFlight& in_flight = state_->write(write);
  DIORITE_ASSERT(in_flight.captured, "a write ends before its bytes were taken");
  DIORITE_ASSERT(bytes <= in_flight.data.bytes, "a write ends with more bytes than it began");
  FileNode& file = *state_->file(in_flight.node);
  const std::uint64_t offset = in_flight.data.offset;
  const std::uint64_t before = file.blocks_taken();
  file.write(in_flight.data, offset, offset + bytes, ++state_->sequence, durable, state_->freed);
  // Space may have been cut away since the write began.
  state_->used_blocks += file.blocks_taken() - before;
  state_->end(write);
}

void Volume::abandon_write(WriteId write, std::span<const bool> landed) {
  WriteInFlight& in_flight = state_->write(write);
  const Captured& data = in_flight.data;
  FileNode& file = *state_->file(in_flight.node);
  const std::uint64_t before = file.blocks_taken();
  const std::uint64_t first_sector = data.offset / kSectorBytes;
  const std::uint64_t end = data.offset + data.bytes;
  ++state_->sequence;
  for (std::size_t i = 0; i < landed.size(); ++i) {
    if (!landed[i]) continue;
    DIORITE_ASSERT(in_flight.captured, "a write lands before its bytes were taken");
    const std::uint64_t from = std::max(data.offset, (first_sector + i) * kSectorBytes);
    while (i + 1 < landed.size() && landed[i + 1]) ++i;
    const std::uint64_t to = std::min(end, (first_sector + i + 1) * kSectorBytes);
    file.write(data, from, to, state_->sequence, false, state_->freed);
  }
  state_->used_blocks += file.blocks_taken() - before;
  state_->end(write);
}

SyncMark Volume::begin_sync(NodeId) const noexcept { return {state_->sequence}; }

void Volume::end_sync(NodeId node, SyncMark mark, bool with_metadata) {
  // A directory that was removed meanwhile has nothing to make durable.
  if (!state_->tree.exists(node)) return;
  if (FileNode* const file = state_->file(node)) {
    file->sync(mark.sequence, with_metadata, state_->freed);
    return;
  }
  state_->tree.sync(node, mark.sequence);
  state_->tree.collect(state_->freed);
}

bool Volume::reads_lie(NodeId node) const noexcept {
  const FileNode* const file = state_->file(node);
  return file != nullptr && file->reads_lie();
}

void Volume::drop(NodeId node, SyncMark mark, DropRules rules) {
  if (!state_->tree.exists(node)) return;
  if (FileNode* const file = state_->file(node)) {
    file->drop(mark.sequence, rules);
  } else {
    state_->tree.drop(node, mark.sequence, rules.lie);
    state_->tree.collect(state_->freed);
  }
  state_->count_space();
}

void Volume::drop_cache(NodeId node) {
  if (!state_->tree.exists(node)) return;
  if (FileNode* const file = state_->file(node)) file->drop_cache();
  state_->count_space();
}

void Volume::release_all() noexcept {
  DIORITE_ASSERT(state_->writes.empty(), "processes end with writes in flight");
  state_->tree.release_all();
  state_->count_space();
  state_->tree.collect(state_->freed);
}

// As a power cut takes them: each may be on the medium already, in any part.
void Volume::end_all_writes() {
  for (const WriteInFlight& write : state_->writes) {
    if (!write.captured || write.data.bytes == 0) continue;
    const std::uint64_t end = write.data.offset + write.data.bytes;
    state_->file(write.node)
        ->write(write.data, write.data.offset, end, ++state_->sequence, false, state_->freed);
  }
  state_->writes.clear();
}

Volume::CrashCounts Volume::crash(Choices& choices, const Profile& profile) {
  end_all_writes();
  state_->tree.crash(choices, profile, state_->freed);
  CrashCounts counts;
  // What was freed before, not what this power cut frees: it does not depend on the order of files.
  const FreedBlocks freed = state_->freed;
  const CrashRules rules{profile, state_->options.physical_block_bytes, freed};
  for (auto& [node, inode] : state_->tree.inodes()) {
    if (inode.is_directory()) continue;
    const CrashTally tally = inode.file->crash(choices, rules, state_->freed);
    counts.sectors_lost += tally.sectors_lost;
    counts.blocks_damaged += tally.blocks_damaged;
  }
  state_->read_only = false;
  state_->count_space();
  return counts;
}

std::uint64_t Volume::moved() const noexcept { return state_->moved.hash(); }

bool Volume::all_durable() const noexcept {
  if (!state_->writes.empty() || !state_->tree.all_durable()) return false;
  const auto& inodes = state_->tree.inodes();
  return std::all_of(inodes.begin(), inodes.end(), [](const auto& entry) {
    const Inode& inode = entry.second;
    return inode.links == 0 || inode.is_directory() || inode.file->all_durable();
  });
}

void Volume::flip_bit(NodeId node, std::uint64_t offset, unsigned bit) {
  state_->file_to_damage(node).flip_bit(offset, bit);
}

void Volume::zero_sector(NodeId node, std::uint64_t offset) {
  state_->file_to_damage(node).zero_sector(offset);
}

bool Volume::stale_sector(NodeId node, std::uint64_t offset) {
  return state_->file_to_damage(node).stale_sector(offset);
}

void Volume::misdirect(NodeId node, std::uint64_t from, std::uint64_t to) {
  state_->file_to_damage(node).copy_sector(from, to);
}

void Volume::make_unreadable(NodeId node, std::uint64_t offset) {
  state_->file_to_damage(node).make_unreadable(offset, state_->options.physical_block_bytes);
}

}  // namespace diorite::sim::detail
