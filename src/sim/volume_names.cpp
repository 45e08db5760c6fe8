// The names of a Volume: what Linux answers on ext4.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <diorite/assert.hpp>

#include "sim/volume_state.hpp"

namespace diorite::sim::detail {
namespace {

OpenResult open_failed(std::int32_t error) noexcept { return {error, kNoNode, false}; }

bool has(std::uint32_t flags, std::uint32_t flag) noexcept { return (flags & flag) != 0; }

// Where a name can stand that is made, moved or removed.
bool is_name(const Located& at) noexcept { return at.last == Located::Last::name; }

}  // namespace

OpenResult Volume::open(std::string_view path, std::uint32_t open_flags, std::uint32_t) {
  DirTree& tree = state_->tree;
  const Located at = tree.locate(path);
  if (at.error != 0) return open_failed(at.error);
  const bool create = has(open_flags, kOpenCreate);
  const bool truncate = has(open_flags, kOpenTruncate);
  const bool changes = truncate || has(open_flags, kOpenWrite);
  const bool direct = has(open_flags, kOpenDirect);
  const bool created = at.node == kNoNode;
  OpenResult opened{0, at.node, created};
  if (created) {
    if (!create) return open_failed(-ENOENT);
    if (at.slash) return open_failed(-EISDIR);
    if (state_->read_only) return open_failed(-EROFS);
    opened.node = tree.make(false);
    tree.link(at.dir, at.name, opened.node, ++state_->sequence);
  } else {
    if (create && at.slash && is_name(at)) return open_failed(-EISDIR);
    if (create && has(open_flags, kOpenExclusive)) return open_failed(-EEXIST);
    if (tree.inode(at.node).is_directory()) {
      if (create || changes) return open_failed(-EISDIR);
      if (direct) return open_failed(-EINVAL);
    } else {
      if (at.slash) return open_failed(-ENOTDIR);
      if (changes && state_->read_only) return open_failed(-EROFS);
    }
  }
  if (direct && !state_->options.direct_possible) {
    // The kernel refuses after it has created the file. Only an exclusive open can know that the
    // file is its own leaving, and takes it away again.
    if (created && has(open_flags, kOpenExclusive)) remove(path, false);
    return open_failed(-EINVAL);
  }
  if (truncate && !created) state_->truncate(opened.node, 0);
  hold(opened.node);
  return opened;
}

std::int32_t Volume::make_dir(std::string_view path) {
  DirTree& tree = state_->tree;
  const Located at = tree.locate(path);
  if (at.error != 0) return at.error;
  if (at.node != kNoNode) return -EEXIST;
  if (state_->read_only) return -EROFS;
  tree.link(at.dir, at.name, tree.make(true), ++state_->sequence);
  return 0;
}

std::int32_t Volume::rename(std::string_view from, std::string_view to) {
  DirTree& tree = state_->tree;
  const Located source = tree.locate(from);
  // Both directories are found before either name is looked up.
  if (source.error != 0 && !source.too_long) return source.error;
  const Located target = tree.locate(to);
  if (target.error != 0 && !target.too_long) return target.error;
  if (!is_name(source) || !is_name(target)) return -EBUSY;
  if (state_->read_only) return -EROFS;
  if (source.error != 0) return source.error;
  if (source.node == kNoNode) return -ENOENT;
  if (target.error != 0) return target.error;
  const bool directory = tree.inode(source.node).is_directory();
  if (!directory && (source.slash || target.slash)) return -ENOTDIR;
  if (directory && tree.is_within(target.dir, source.node)) return -EINVAL;
  if (target.node != kNoNode) {
    if (tree.is_within(source.dir, target.node)) return -ENOTEMPTY;
    // Two names of one file, or the same name twice: nothing happens.
    if (target.node == source.node) return 0;
    const Inode& replaced = tree.inode(target.node);
    if (directory && !replaced.is_directory()) return -ENOTDIR;
    if (!directory && replaced.is_directory()) return -EISDIR;
    if (directory && !replaced.live.empty()) return -ENOTEMPTY;
  }
  tree.rename(source, target, ++state_->sequence);
  if (target.node != kNoNode) state_->let_go(target.node);
  return 0;
}

std::int32_t Volume::remove(std::string_view path, bool directory) {
  DirTree& tree = state_->tree;
  const Located at = tree.locate(path);
  if (at.error != 0) return at.error;
  if (!is_name(at)) {
    if (!directory) return -EISDIR;
    if (at.last == Located::Last::dot) return -EINVAL;
    return at.last == Located::Last::dot_dot ? -ENOTEMPTY : -EBUSY;
  }
  if (state_->read_only) return -EROFS;
  if (at.node == kNoNode) return -ENOENT;
  const Inode& inode = tree.inode(at.node);
  if (directory) {
    if (!inode.is_directory()) return -ENOTDIR;
    if (!inode.live.empty()) return -ENOTEMPTY;
  } else {
    if (inode.is_directory()) return -EISDIR;
    if (at.slash) return -ENOTDIR;
  }
  tree.unlink(at.dir, at.name, ++state_->sequence);
  state_->let_go(at.node);
  return 0;
}

std::int32_t Volume::list(std::string_view path, std::vector<DirEntry>& entries) const {
  const OpenResult dir = find_dir(path);
  if (dir.result != 0) return dir.result;
  entries.clear();
  for (const auto& [name, node] : state_->tree.inode(dir.node).live) {
    const bool is_dir = state_->tree.inode(node).is_directory();
    entries.push_back({name, is_dir ? FileKind::directory : FileKind::regular});
  }
  return 0;
}

OpenResult Volume::find_dir(std::string_view path) const {
  const Located at = state_->tree.locate(path);
  if (at.error != 0) return open_failed(at.error);
  if (at.node == kNoNode) return open_failed(-ENOENT);
  if (!state_->tree.inode(at.node).is_directory()) return open_failed(-ENOTDIR);
  return {0, at.node, false};
}

NodeId Volume::find(std::string_view path) const noexcept { return state_->tree.locate(path).node; }

std::vector<std::string> Volume::files() const {
  std::vector<std::string> paths;
  state_->tree.each_path([&](const std::string& path, NodeId node) {
    if (state_->file(node) != nullptr) paths.push_back(path);
  });
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::uint64_t Volume::hash() const {
  constexpr std::uint64_t kBasis = 0xcbf2'9ce4'8422'2325;
  constexpr std::uint64_t kPrime = 0x0000'0100'0000'01b3;
  std::uint64_t hash = kBasis;
  state_->tree.each_path([&](const std::string& path, NodeId node) {
    for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
    const FileNode* const file = state_->file(node);
    hash = file != nullptr ? file->hash(hash) : (hash ^ 1) * kPrime;
  });
  return hash;
}

void Volume::forget(std::string_view path) {
  const Located at = state_->tree.locate(path);
  DIORITE_ASSERT(at.error == 0 && at.node != kNoNode, "there is no such file");
  DIORITE_ASSERT(!state_->tree.inode(at.node).is_directory(), "a directory cannot be forgotten");
  state_->tree.forget(at.dir, at.name);
  state_->let_go(at.node);
}

}  // namespace diorite::sim::detail
