#include "sim/dir_tree.hpp"

#include <algorithm>
#include <cerrno>

#include <diorite/assert.hpp>

namespace diorite::sim::detail {
namespace {

constexpr std::size_t kNameBytesMax = 255;
constexpr std::size_t kPathBytesMax = 4095;

/// The next part of a path, without slashes; empty at the end.
std::string_view next_name(std::string_view& rest) noexcept {
  const std::size_t begin = std::min(rest.find_first_not_of('/'), rest.size());
  const std::size_t end = std::min(rest.find('/', begin), rest.size());
  const std::string_view name = rest.substr(begin, end - begin);
  rest.remove_prefix(end);
  return name;
}

bool touches(const EntryChange& change, NodeId dir, std::string_view name) noexcept {
  return (change.from_dir == dir && change.from == name) ||
         (change.to_dir == dir && change.to == name);
}

bool is_in(const EntryChange& change, NodeId dir) noexcept {
  return dir != kNoNode && (change.from_dir == dir || change.to_dir == dir);
}

// What `later` found there was the work of `earlier`.
bool rests_upon(const EntryChange& later, const EntryChange& earlier) noexcept {
  if (later.from_dir != kNoNode && touches(earlier, later.from_dir, later.from)) return true;
  if (later.to_dir != kNoNode && touches(earlier, later.to_dir, later.to)) return true;
  if (!later.of_directory) return false;
  // A directory that goes must have lost its entries before.
  return later.kind == EntryChange::Kind::unlink ? is_in(earlier, later.node)
                                                 : is_in(earlier, later.replaced);
}

}  // namespace

DirTree::DirTree() {
  inodes_[kRoot].links = 1;
  inodes_[kRoot].parent = kRoot;
}

DirTree::DirTree(const DirTree& other) : changes_(other.changes_), next_(other.next_) {
  for (const auto& [node, from] : other.inodes_) {
    Inode& to = inodes_[node];
    if (from.file != nullptr) to.file = std::make_unique<FileNode>(*from.file);
    to.links = from.links;
    to.held = from.held;
    to.parent = from.parent;
    to.live = from.live;
    to.durable = from.durable;
  }
}

Inode* DirTree::find(NodeId node) const noexcept {
  if (recent_ == nullptr || recent_node_ != node) {
    auto& inodes = const_cast<DirTree*>(this)->inodes_;
    const auto found = inodes.find(node);
    if (found == inodes.end()) return nullptr;
    recent_node_ = node;
    recent_ = &found->second;
  }
  return recent_;
}

Inode& DirTree::inode(NodeId node) noexcept {
  Inode* const found = find(node);
  DIORITE_ASSERT(found != nullptr, "a node of the simulated disk that is gone");
  return *found;
}

const Inode& DirTree::inode(NodeId node) const noexcept {
  return const_cast<DirTree*>(this)->inode(node);
}

NodeId DirTree::lookup(View view, NodeId dir, std::string_view name) const noexcept {
  const Names& names = inode(dir).*view;
  const auto found = names.find(name);
  return found == names.end() ? kNoNode : found->second;
}

Located DirTree::locate(std::string_view path) const noexcept {
  Located at;
  const auto failed = [](std::int32_t error) {
    Located none;
    none.error = error;
    return none;
  };
  if (path.empty()) return failed(-ENOENT);
  if (path.size() > kPathBytesMax) return failed(-ENAMETOOLONG);
  at.slash = path.back() == '/';
  at.node = kRoot;
  at.last = Located::Last::root;
  std::string_view rest = path;
  for (std::string_view name = next_name(rest); !name.empty(); name = next_name(rest)) {
    if (at.node == kNoNode) return failed(-ENOENT);
    if (!inode(at.node).is_directory()) return failed(-ENOTDIR);
    at.name = name;
    at.dir = at.node;
    if (name == ".") {
      at.last = Located::Last::dot;
    } else if (name == "..") {
      at.last = Located::Last::dot_dot;
      at.node = inode(at.dir).parent;
    } else {
      at.last = Located::Last::name;
      if (name.size() > kNameBytesMax) {
        if (rest.find_first_not_of('/') != std::string_view::npos) return failed(-ENAMETOOLONG);
        at.error = -ENAMETOOLONG;
        at.too_long = true;
        at.node = kNoNode;
        return at;
      }
      at.node = lookup(&Inode::live, at.dir, name);
    }
  }
  return at;
}

bool DirTree::is_within(NodeId node, NodeId dir) const noexcept {
  while (node != dir && node != kRoot) node = inode(node).parent;
  return node == dir;
}

NodeId DirTree::make(bool directory) {
  const NodeId node = next_++;
  Inode& made = inodes_[node];
  if (!directory) made.file = std::make_unique<FileNode>();
  return node;
}

void DirTree::link(NodeId dir, std::string_view name, NodeId node, std::uint64_t sequence) {
  EntryChange change;
  change.sequence = sequence;
  change.of_directory = inode(node).is_directory();
  change.node = node;
  change.to_dir = dir;
  change.to = name;
  apply(change, &Inode::live, false);
  ++inode(node).links;
  if (change.of_directory) inode(node).parent = dir;
  changes_.push_back(std::move(change));
}

void DirTree::unlink(NodeId dir, std::string_view name, std::uint64_t sequence) {
  EntryChange change;
  change.sequence = sequence;
  change.kind = EntryChange::Kind::unlink;
  change.node = lookup(&Inode::live, dir, name);
  change.of_directory = inode(change.node).is_directory();
  change.from_dir = dir;
  change.from = name;
  apply(change, &Inode::live, false);
  --inode(change.node).links;
  changes_.push_back(std::move(change));
}

void DirTree::rename(const Located& from, const Located& to, std::uint64_t sequence) {
  EntryChange change;
  change.sequence = sequence;
  change.kind = EntryChange::Kind::rename;
  change.node = from.node;
  change.of_directory = inode(from.node).is_directory();
  change.from_dir = from.dir;
  change.from = from.name;
  change.to_dir = to.dir;
  change.to = to.name;
  change.replaced = to.node;
  apply(change, &Inode::live, false);
  if (change.replaced != kNoNode) --inode(change.replaced).links;
  if (change.of_directory) inode(change.node).parent = change.to_dir;
  changes_.push_back(std::move(change));
}

void DirTree::forget(NodeId dir, std::string_view name) {
  inode(dir).live.erase(std::string(name));
  inode(dir).durable.erase(std::string(name));
  const auto about = [&](const EntryChange& change) { return touches(change, dir, name); };
  changes_.erase(std::remove_if(changes_.begin(), changes_.end(), about), changes_.end());
  recount();
}

// True when `below` is in the directory `above`, however deep, or is it.
bool DirTree::holds(View view, NodeId above, NodeId below) const {
  if (above == below) return true;
  for (const auto& [name, node] : inode(above).*view) {
    if (inode(node).is_directory() && holds(view, node, below)) return true;
  }
  return false;
}

bool DirTree::can_apply(const EntryChange& change, View view) const {
  if (change.kind != EntryChange::Kind::link) {
    if (lookup(view, change.from_dir, change.from) != change.node) return false;
  }
  if (change.kind == EntryChange::Kind::unlink) {
    return !change.of_directory || (inode(change.node).*view).empty();
  }
  const NodeId found = lookup(view, change.to_dir, change.to);
  if (change.kind == EntryChange::Kind::link) return found == kNoNode;
  if (found != kNoNode && found != change.replaced) return false;
  if (!change.of_directory) return true;
  if (found != kNoNode && !(inode(found).*view).empty()) return false;
  return !holds(view, change.node, change.to_dir);
}

void DirTree::apply(const EntryChange& change, View view, bool keep_old_name) {
  if (change.from_dir != kNoNode && !keep_old_name) {
    Names& names = inode(change.from_dir).*view;
    names.erase(names.find(change.from));
  }
  if (change.to_dir != kNoNode) (inode(change.to_dir).*view)[change.to] = change.node;
}

void DirTree::end_old_name(const EntryChange& change) {
  Names& names = inode(change.from_dir).durable;
  const auto found = names.find(change.from);
  if (found != names.end() && found->second == change.node) names.erase(found);
}

void DirTree::commit(std::size_t index, bool old_name_may_stay) {
  EntryChange& change = changes_[index];
  if (change.node == kNoNode) return;
  for (std::size_t i = 0; i < index; ++i) {
    if (changes_[i].node != kNoNode && rests_upon(change, changes_[i])) commit(i, false);
  }
  if (change.named) {
    if (old_name_may_stay) return;
    end_old_name(change);
  } else if (can_apply(change, &Inode::durable)) {
    apply(change, &Inode::durable, old_name_may_stay);
    change.named = old_name_may_stay;
    if (change.named) return;
  }
  change.node = kNoNode;
}

void DirTree::sync(NodeId dir, std::uint64_t mark) {
  for (std::size_t i = 0; i < changes_.size() && changes_[i].sequence <= mark; ++i) {
    const EntryChange& change = changes_[i];
    if (change.node == kNoNode || !is_in(change, dir)) continue;
    // A directory has one parent at any time.
    const bool between =
        change.kind == EntryChange::Kind::rename && change.from_dir != dir && !change.of_directory;
    commit(i, between);
  }
  const auto is_done = [](const EntryChange& change) { return change.node == kNoNode; };
  changes_.erase(std::remove_if(changes_.begin(), changes_.end(), is_done), changes_.end());
}

void DirTree::drop(NodeId dir, std::uint64_t mark, Lie lie) {
  const auto is_covered = [&](const EntryChange& change) {
    return change.sequence <= mark && is_in(change, dir);
  };
  changes_.erase(std::remove_if(changes_.begin(), changes_.end(), is_covered), changes_.end());
  if (lie != Lie::none) return;
  for (auto& [node, inode] : inodes_) inode.live = inode.durable;
  for (const EntryChange& change : changes_) {
    if (can_apply(change, &Inode::live)) apply(change, &Inode::live, false);
  }
  recount();
}

void DirTree::recount() {
  for (auto& [node, inode] : inodes_) inode.links = node == kRoot ? 1 : 0;
  for (auto& [dir, inode] : inodes_) {
    for (const auto& [name, node] : inode.live) {
      Inode& named = inodes_.at(node);
      ++named.links;
      if (named.is_directory()) named.parent = dir;
    }
  }
}

void DirTree::release_all() noexcept {
  for (auto& [node, inode] : inodes_) inode.held = 0;
}

void DirTree::mark(NodeId node) noexcept {
  const auto found = inodes_.find(node);
  if (found != inodes_.end()) found->second.marked = true;
}

void DirTree::mark_needed() noexcept {
  for (auto& [node, inode] : inodes_) inode.marked = node == kRoot || inode.is_used();
  for (const auto& [dir, inode] : inodes_) {
    for (const auto& [name, node] : inode.live) mark(node);
    for (const auto& [name, node] : inode.durable) mark(node);
  }
  for (const EntryChange& change : changes_) {
    mark(change.node);
    mark(change.from_dir);
    mark(change.to_dir);
    mark(change.replaced);
  }
}

void DirTree::collect(FreedBlocks& freed) {
  // A directory that goes may have been the last to need another node.
  for (bool removed = true; removed;) {
    mark_needed();
    removed = false;
    for (auto at = inodes_.begin(); at != inodes_.end();) {
      if (at->second.marked) {
        ++at;
        continue;
      }
      if (!at->second.is_directory()) at->second.file->free_blocks(freed);
      at = inodes_.erase(at);
      removed = true;
      recent_ = nullptr;
    }
  }
}

bool DirTree::all_durable() const noexcept {
  return changes_.empty() && std::all_of(inodes_.begin(), inodes_.end(), [](const auto& entry) {
           return entry.second.links == 0 || entry.second.live == entry.second.durable;
         });
}

}  // namespace diorite::sim::detail
