// DirTree: the names of a simulated disk: as they are, as they are durable, and the changes
// between.
//
// Every change of a name (a link, an unlink, a rename) is pending until a sync of its directory
// covers it. A change says what it found; where that is no longer so, because an earlier change was
// lost, it is lost, too: a name cannot be taken twice, a directory with something in it cannot be
// removed, and what is in a directory that is gone is gone. For the same reason a sync takes with
// it the older changes that its own ones rest upon, also of other directories.
//
// A rename between directories is durable after a sync of either: of the old one, since the new
// name must be there before the old one goes, of the new one, since its name was asked for. After a
// sync of the new one only, DirectoryModel::split may still find the old name, too.
//
// Thread: one. Nodes live while they have a name, now or durably or in a pending change, or are
// held.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/sim/choices.hpp>
#include <diorite/sim/profile.hpp>

#include "sim/file_node.hpp"
#include "sim/volume.hpp"

namespace diorite::sim::detail {

using Names = std::map<std::string, NodeId, std::less<>>;

struct Inode {
  std::unique_ptr<FileNode> file;  ///< null: a directory
  std::uint32_t links = 0;         ///< names that it has now
  std::uint32_t held = 0;
  NodeId parent = kNoNode;  ///< of directories, as it is now
  bool marked = false;      ///< by whoever is looking for nodes
  Names live;
  Names durable;

  bool is_directory() const noexcept { return file == nullptr; }
  /// Space is accounted to it.
  bool is_used() const noexcept { return links > 0 || held > 0; }
};

struct EntryChange {
  enum class Kind : std::uint8_t { link, unlink, rename };
  std::uint64_t sequence = 0;
  Kind kind = Kind::link;
  bool of_directory = false;
  bool named = false;  ///< rename: the new name is durable, the end of the old one is not yet
  NodeId node = kNoNode;
  NodeId from_dir = kNoNode;  ///< unlink, rename
  NodeId to_dir = kNoNode;    ///< link, rename
  NodeId replaced = kNoNode;  ///< rename: what had the new name
  std::string from;
  std::string to;
};

/// What a path leads to.
struct Located {
  enum class Last : std::uint8_t { name, dot, dot_dot, root };
  std::int32_t error = 0;
  NodeId dir = kNoNode;  ///< that has, or would have, the name
  NodeId node = kNoNode;
  Last last = Last::name;
  bool slash = false;     ///< at the end: it must be a directory
  bool too_long = false;  ///< the error is of the last name; what stands before it was found
  std::string_view name;
};

class DirTree {
 public:
  static constexpr NodeId kRoot = 1;

  DirTree();
  DirTree(const DirTree& other);
  DirTree& operator=(const DirTree&) = delete;

  Located locate(std::string_view path) const noexcept;
  Inode& inode(NodeId node) noexcept;
  const Inode& inode(NodeId node) const noexcept;
  bool exists(NodeId node) const noexcept { return find(node) != nullptr; }
  bool is_within(NodeId node, NodeId dir) const noexcept;

  /// The answers of Linux are the volume's; these only do it.
  NodeId make(bool directory);
  void link(NodeId dir, std::string_view name, NodeId node, std::uint64_t sequence);
  void unlink(NodeId dir, std::string_view name, std::uint64_t sequence);
  void rename(const Located& from, const Located& to, std::uint64_t sequence);
  void forget(NodeId dir, std::string_view name);

  void sync(NodeId dir, std::uint64_t mark);
  void drop(NodeId dir, std::uint64_t mark, Lie lie);
  /// Decides about names; afterwards all are durable, and nodes without one are gone.
  void crash(Choices& choices, const Profile& profile, FreedBlocks& freed);
  void release_all() noexcept;
  /// Removes the nodes that nothing can bring back.
  void collect(FreedBlocks& freed);
  bool all_durable() const noexcept;
  /// What a power cut may leave of the names: fingerprint.cpp.
  void fold_names_of_power_cut(Trace& hash) const;

  std::map<NodeId, Inode>& inodes() noexcept { return inodes_; }
  const std::map<NodeId, Inode>& inodes() const noexcept { return inodes_; }
  /// Of directories and files, in order of names: see(path, node).
  template <class See>
  void each_path(See see) const {
    std::string path;
    visit(kRoot, path, see);
  }

 private:
  using View = Names Inode::*;

  template <class See>
  void visit(NodeId dir, std::string& path, See& see) const {
    for (const auto& [name, node] : inode(dir).live) {
      const std::size_t before = path.size();
      if (before != 0) path += '/';
      path += name;
      see(path, node);
      if (inode(node).is_directory()) visit(node, path, see);
      path.resize(before);
    }
  }
  /// Null when it is gone.
  Inode* find(NodeId node) const noexcept;
  void mark(NodeId node) noexcept;
  void mark_needed() noexcept;
  NodeId lookup(View view, NodeId dir, std::string_view name) const noexcept;
  bool holds(View view, NodeId above, NodeId below) const;
  bool can_apply(const EntryChange& change, View view) const;
  void apply(const EntryChange& change, View view, bool keep_old_name);
  void end_old_name(const EntryChange& change);
  void commit(std::size_t index, bool old_name_may_stay);
  void settle(Choices& choices, DirectoryModel model);
  void settle_prefix(Choices& choices);
  void settle_each(Choices& choices, bool split);
  void show_durable();
  void recount();

  std::map<NodeId, Inode> inodes_;
  mutable NodeId recent_node_ = kNoNode;  ///< what was found last: the next use is mostly the same
  mutable Inode* recent_ = nullptr;
  std::vector<EntryChange> changes_;
  NodeId next_ = kRoot + 1;
};

}  // namespace diorite::sim::detail
