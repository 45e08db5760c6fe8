// Volume::State: what the parts of volume.cpp share.

#pragma once

#include <cstdint>
#include <vector>

#include "sim/dir_tree.hpp"
#include "sim/file_node.hpp"
#include "sim/trace.hpp"
#include "sim/volume.hpp"

namespace diorite::sim::detail {

struct WriteInFlight {
  WriteId id = 0;
  NodeId node = kNoNode;
  bool captured = false;
  Captured data;
};

struct Volume::State {
  explicit State(const DiskOptions& disk_options) : options(disk_options) {}

  /// Null for directories.
  FileNode* file(NodeId node) noexcept { return tree.inode(node).file.get(); }
  const FileNode* file(NodeId node) const noexcept { return tree.inode(node).file.get(); }
  FileNode& file_to_damage(NodeId node) noexcept;
  WriteInFlight& write(WriteId id) noexcept;
  const WriteInFlight& write(WriteId id) const noexcept;
  void end(WriteId id);
  /// Of what nobody can reach any more, space is free at once, and memory when nothing can bring it
  /// back.
  void let_go(NodeId node);
  void count_space() noexcept;
  std::uint64_t free_blocks() const noexcept;
  std::int32_t check_room(const FileNode& of, std::uint64_t offset, std::uint64_t bytes) const;
  void truncate(NodeId node, std::uint64_t bytes);

  DiskOptions options;
  bool read_only = false;
  std::uint64_t sequence = 0;
  WriteId next_write = 1;
  std::uint64_t used_blocks = 0;
  DirTree tree;
  std::vector<WriteInFlight> writes;  ///< in the order in which they began
  FreedBlocks freed;
  Trace moved;  ///< bytes that went in and out
};

}  // namespace diorite::sim::detail
