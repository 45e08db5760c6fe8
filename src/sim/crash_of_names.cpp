#include "sim/dir_tree.hpp"

namespace diorite::sim::detail {

// The changes up to some moment. A rename whose new name is durable ends its old one in any case.
void DirTree::settle_prefix(Choices& choices) {
  std::uint32_t open = 0;
  for (const EntryChange& change : changes_) open += change.named ? 0 : 1;
  std::uint32_t left = open - choices.pick(open + 1);
  for (EntryChange& change : changes_) {
    if (change.named) {
      end_old_name(change);
      continue;
    }
    if (left == 0) continue;
    --left;
    if (can_apply(change, &Inode::durable)) apply(change, &Inode::durable, false);
  }
}

void DirTree::settle_each(Choices& choices, bool split) {
  for (EntryChange& change : changes_) {
    if (change.named) {
      const bool is_there = lookup(&Inode::durable, change.from_dir, change.from) == change.node;
      if (is_there && (!split || choices.pick(2) == 0)) end_old_name(change);
      continue;
    }
    if (!can_apply(change, &Inode::durable)) continue;
    const bool may_split =
        split && change.kind == EntryChange::Kind::rename && !change.of_directory;
    const std::uint32_t answer = choices.pick(may_split ? 3 : 2);
    if (answer == 0 || (may_split && answer == 1)) {
      apply(change, &Inode::durable, answer == 1);
    }
  }
}

void DirTree::settle(Choices& choices, DirectoryModel model) {
  switch (model) {
    case DirectoryModel::ordered:
      settle_prefix(choices);
      break;
    case DirectoryModel::subset:
      settle_each(choices, false);
      break;
    case DirectoryModel::split:
      settle_each(choices, true);
      break;
  }
  changes_.clear();
}

// What is not reached from the root is gone.
void DirTree::show_durable() {
  for (auto& [node, inode] : inodes_) inode.marked = node == kRoot;
  std::vector<NodeId> open{kRoot};
  while (!open.empty()) {
    Inode& dir = inode(open.back());
    open.pop_back();
    dir.live = dir.durable;
    for (const auto& [name, node] : dir.durable) {
      Inode& named = inode(node);
      if (named.is_directory() && !named.marked) open.push_back(node);
      named.marked = true;
    }
  }
  for (auto& [node, inode] : inodes_) {
    if (inode.marked) continue;
    inode.live.clear();
    inode.durable.clear();
  }
}

void DirTree::crash(Choices& choices, const Profile& profile, FreedBlocks& freed) {
  release_all();
  settle(choices, profile.directories);
  show_durable();
  recount();
  collect(freed);
}

}  // namespace diorite::sim::detail
