#include <array>
#include <utility>

#include <fmt/format.h>

#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

constexpr std::array<std::byte, 1> kThere{std::byte{1}};
constexpr std::array<std::byte, 1> kMissing{std::byte{0}};

std::span<const std::byte> name_bytes(bool exists) noexcept { return exists ? kThere : kMissing; }

}  // namespace

LruOracle::Entry& LruOracle::entry(std::uint64_t key) {
  auto found = files_.find(key);
  if (found == files_.end()) {
    const FileOracleOptions name{
        .sector_bytes = 1, .block_bytes = 0, .stale_space = false, .splits_sectors = false};
    found =
        files_.emplace(key, Entry{FileOracle(options_), FileOracle(name), 0, false, false}).first;
  }
  return found->second;
}

void LruOracle::new_cache() {
  for (auto& [key, file] : files_) {
    // An older cache's syncs before its closes are announced by nobody, and who ended it did not
    // hear how they went.
    failed(key);
    file.bytes.process_ended();
    if (file.name.process_ended()) file.name_lost = true;
    file.since = file.bytes.now();
  }
}

std::uint64_t LruOracle::opening(std::uint64_t key) {
  FileOracle& name = entry(key).name;
  return name.is_surely(0, kThere) ? 0 : name.writing(0, kThere);
}

void LruOracle::opened(std::uint64_t key, std::uint64_t id, bool success) {
  Entry& file = entry(key);
  if (id != 0) file.name.wrote(id, success && !file.name_lost, false);
}

std::uint64_t LruOracle::removing(std::uint64_t key) {
  Entry& file = entry(key);
  file.leaving = true;
  return file.name.writing(0, kMissing);
}

void LruOracle::removed(std::uint64_t key, std::uint64_t id, bool success) {
  entry(key).name.wrote(id, success, false);
}

std::uint64_t LruOracle::syncing_names() {
  Syncs& syncs = name_syncs_[next_];
  for (auto& [key, file] : files_) syncs[key] = file.name.syncing();
  return next_++;
}

void LruOracle::synced_names(std::uint64_t id, bool success) {
  for (const auto& [key, sync] : name_syncs_[id]) {
    Entry& file = entry(key);
    file.name.synced(sync, success);
    if (!success) file.name_lost = true;
  }
  name_syncs_.erase(id);
}

std::uint64_t LruOracle::closing() {
  Syncs& syncs = closings_[next_];
  for (auto& [key, file] : files_) {
    if (!file.leaving) syncs[key] = file.bytes.syncing(file.since);
  }
  return next_++;
}

void LruOracle::closed(std::uint64_t id, bool success) {
  for (const auto& [key, sync] : closings_[id]) entry(key).bytes.synced(sync, success);
  closings_.erase(id);
}

void LruOracle::failed(std::uint64_t key) {
  FileOracle& bytes = entry(key).bytes;
  bytes.synced(bytes.syncing(), false);
}

std::string LruOracle::check_exists(std::uint64_t key, bool exists) {
  FileOracle& name = entry(key).name;
  const std::string wrong = name.check_read(name.reading(), 0, name_bytes(exists));
  if (wrong.empty()) return {};
  return fmt::format("file {} is {}", key, exists ? "there, and was removed" : "missing");
}

std::string LruOracle::check_found(std::uint64_t key, bool exists) {
  Entry& file = entry(key);
  const std::string wrong = file.name.check_found(name_bytes(exists));
  if (!wrong.empty()) {
    return fmt::format("after a power cut file {} {}", key,
                       exists ? "has come back" : "is gone, and its name was promised");
  }
  if (!exists) file.bytes = FileOracle(options_);
  file.leaving = false;
  file.name_lost = false;
  return {};
}

bool LruOracle::is_gone(std::uint64_t key) {
  Entry& file = entry(key);
  if (!file.name.is_surely(0, kMissing)) return false;
  if (file.leaving) file = Entry{FileOracle(options_), std::move(file.name), 0, false, false};
  return true;
}

}  // namespace diorite::sim
