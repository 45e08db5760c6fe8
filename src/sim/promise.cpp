// What the bytes of a journal still promise, found without recovery's code: from every place where
// a commit may stand, and from both slots of the manifest.

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>

#include "journal/commit_header.hpp"
#include "journal/format.hpp"
#include "journal/manifest_slot.hpp"
#include "journal/segment_header.hpp"
#include "sim/volume.hpp"

#include <diorite/align.hpp>
#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

struct Piece {
  std::vector<std::byte> bytes;
  std::optional<wal::SegmentHeader> header;
};

/// What can be read; the rest is zero, and so promises nothing.
std::vector<std::byte> readable(const Disk& disk, const std::string& path) {
  const detail::Volume& volume = disk.volume();
  const detail::NodeId node = volume.find(path);
  if (node == detail::kNoNode) return {};
  std::vector<std::byte> bytes(static_cast<std::size_t>(volume.bytes_of(node)));
  for (std::size_t at = 0; at < bytes.size(); at += wal::kBlockBytes) {
    const std::size_t length = std::min<std::size_t>(wal::kBlockBytes, bytes.size() - at);
    const std::span<std::byte> block(bytes.data() + at, length);
    if (volume.read(node, at, block) < 0) std::fill(block.begin(), block.end(), std::byte{0});
  }
  return bytes;
}

std::string_view without_slashes(std::string_view path) {
  while (!path.empty() && path.front() == '/') path.remove_prefix(1);
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  return path;
}

bool parse_segment_path(std::string_view path, std::string_view dir, std::uint64_t& seq) {
  const std::size_t slash = path.find_last_of('/');
  const bool has_dir = slash != std::string_view::npos;
  const std::string_view above = has_dir ? path.substr(0, slash) : std::string_view();
  return without_slashes(above) == dir &&
         wal::parse_segment_file_name(path.substr(has_dir ? slash + 1 : 0), seq);
}

std::map<std::uint64_t, Piece> read_segments(const Disk& disk, std::string_view dir) {
  std::map<std::uint64_t, Piece> segments;
  for (const std::string& path : disk.files()) {
    std::uint64_t seq = 0;
    if (!parse_segment_path(path, dir, seq)) continue;
    Piece piece;
    piece.bytes = readable(disk, path);
    wal::SegmentHeader header;
    if (wal::decode_segment_header(piece.bytes, header) == wal::BlockVerdict::valid &&
        header.segment_seq == seq) {
      piece.header = header;
    }
    segments.emplace(seq, std::move(piece));
  }
  return segments;
}

/// A header that is lost is no reason to forget what stands behind it: its neighbours tell where
/// the segment lies. A wrong guess finds no commit, since each is bound to its position.
void guess_header(std::map<std::uint64_t, Piece>& segments, std::uint64_t seq, Piece& piece) {
  for (const auto& [other, neighbour] : segments) {
    if (!neighbour.header) continue;
    wal::SegmentHeader header = *neighbour.header;
    if (header.capacity != piece.bytes.size()) continue;
    header.base_lsn += (seq - other) * header.capacity;
    header.segment_seq = seq;
    header.salt = wal::segment_salt(seq, header.uuid);
    piece.header = header;
    return;
  }
}

std::uint64_t promise_of(const Piece& piece) {
  const wal::SegmentGeometry geometry = wal::geometry_of(*piece.header);
  std::uint64_t promise = 0;
  const std::uint64_t end = std::min<std::uint64_t>(piece.bytes.size(), geometry.capacity);
  for (std::uint64_t at = wal::stride_of(geometry.pad_unit); at + wal::kCommitHeaderBytes <= end;
       at += geometry.pad_unit) {
    wal::CommitHeader header;
    const std::span<const std::byte> bytes =
        std::span<const std::byte>(piece.bytes).subspan(static_cast<std::size_t>(at));
    if (wal::decode_commit_header(bytes, geometry, geometry.base_lsn + at, header) ==
        wal::CommitVerdict::valid) {
      promise = std::max(promise, header.durable_lsn);
    }
  }
  return promise;
}

}  // namespace

Lsn surviving_promise(const Disk& disk, std::string_view dir) {
  dir = without_slashes(dir);
  std::string path(dir);
  if (!path.empty()) path += '/';
  path += wal::kManifestName;

  std::uint64_t promise = 0;
  std::optional<wal::Uuid> uuid;
  const std::vector<std::byte> manifest = readable(disk, path);
  for (const std::uint64_t offset : wal::kManifestSlotOffsets) {
    if (manifest.size() < offset + wal::kManifestSlotBytes) continue;
    const std::span<const std::byte> bytes = std::span<const std::byte>(manifest).subspan(
        static_cast<std::size_t>(offset), wal::kManifestSlotBytes);
    wal::ManifestSlot slot;
    if (wal::decode_manifest_slot(bytes, slot) != wal::BlockVerdict::valid) continue;
    uuid = slot.uuid;
    promise = std::max({promise, slot.durable_floor, slot.end_lsn});
  }
  std::map<std::uint64_t, Piece> segments = read_segments(disk, dir);
  for (auto& [seq, piece] : segments) {
    if (!piece.header) guess_header(segments, seq, piece);
    // A foreign segment says nothing of this journal.
    if (!piece.header || (uuid && piece.header->uuid != *uuid)) continue;
    promise = std::max(promise, promise_of(piece));
  }
  return Lsn{promise};
}

Lsn highest_commit(const Disk& disk, std::string_view dir) {
  dir = without_slashes(dir);
  const detail::Volume& volume = disk.volume();
  std::uint64_t highest = 0;
  for (const std::string& path : disk.files()) {
    std::uint64_t seq = 0;
    if (!parse_segment_path(path, dir, seq)) continue;
    const detail::NodeId node = volume.find(path);
    std::array<std::byte, wal::kSegmentHeaderBytes> block;
    wal::SegmentHeader header;
    if (volume.read(node, 0, block) != static_cast<std::int64_t>(block.size()) ||
        wal::decode_segment_header(block, header) != wal::BlockVerdict::valid) {
      continue;
    }
    const wal::SegmentGeometry geometry = wal::geometry_of(header);
    const std::span<std::byte> place = std::span(block).first(wal::kCommitHeaderBytes);
    for (std::uint64_t lsn = geometry.data_begin(); lsn < geometry.end();
         lsn += geometry.pad_unit) {
      wal::CommitHeader commit;
      if (volume.read(node, lsn - geometry.base_lsn, place) ==
              static_cast<std::int64_t>(place.size()) &&
          wal::decode_commit_header(place, geometry, lsn, commit) == wal::CommitVerdict::valid) {
        highest = std::max(highest, lsn);
      }
    }
  }
  return Lsn{highest};
}

LsnRange damaged_range(const Damage& damage, std::string_view dir, std::uint64_t segment_bytes) {
  std::uint64_t seq = 0;
  if (!parse_segment_path(damage.path, without_slashes(dir), seq)) return {};
  const std::uint64_t begin = std::max<std::uint64_t>(damage.offset, wal::kSegmentHeaderBytes);
  const std::uint64_t end = std::min(damage.offset + damage.bytes, segment_bytes);
  if (begin >= end) return {};
  const std::uint64_t base = seq * segment_bytes;
  return {Lsn{base + begin}, Lsn{base + end}};
}

}  // namespace diorite::sim
