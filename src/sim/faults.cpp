#include "sim/faults.hpp"

#include <array>
#include <cerrno>

namespace diorite::sim::detail {
namespace {

// EROFS stands last in each, so that it can be left out.
constexpr std::array kReadErrors = {EIO, ENODATA};
constexpr std::array kChangeErrors = {EIO, ENOSPC, EROFS};
constexpr std::array kShrinkErrors = {EIO, EROFS};
constexpr std::array kSyncErrors = {EIO, ENOSPC};
constexpr std::array kOpenErrors = {EIO, EMFILE};
constexpr std::array kCreateErrors = {EIO, EMFILE, ENOSPC, EROFS};
constexpr std::array kLockErrors = {EIO, ENOLCK};
constexpr std::array kListErrors = {EIO, EMFILE};
constexpr std::array kOtherErrors = {EIO};

std::span<const int> all_errors_of(OpCode code, std::uint32_t open_flags) noexcept {
  switch (code) {
    case OpCode::nop:
    case OpCode::call:
      return {};
    case OpCode::read:
      return kReadErrors;
    case OpCode::write:
    case OpCode::allocate:
    case OpCode::make_dir:
    case OpCode::rename:
      return kChangeErrors;
    case OpCode::truncate:
    case OpCode::remove:
      return kShrinkErrors;
    case OpCode::sync_data:
    case OpCode::sync_all:
      return kSyncErrors;
    case OpCode::open:
      if ((open_flags & kOpenCreate) != 0) return kCreateErrors;
      return kOpenErrors;
    case OpCode::try_lock:
      return kLockErrors;
    case OpCode::list_dir:
      return kListErrors;
    case OpCode::info:
    case OpCode::close:
    case OpCode::drop_cache:
    case OpCode::sync_dir:
      return kOtherErrors;
  }
  return {};
}

}  // namespace

std::span<const int> errors_of(OpCode code, std::uint32_t open_flags,
                               bool may_go_read_only) noexcept {
  const std::span<const int> all = all_errors_of(code, open_flags);
  if (may_go_read_only || all.empty() || all.back() != EROFS) return all;
  return all.first(all.size() - 1);
}

std::int32_t Faults::error(OpCode code, std::uint32_t open_flags) {
  std::uint32_t& left = left_[static_cast<std::size_t>(area_of(code))];
  if (left == 0 || !happens(profile_.error(code))) return 0;
  // A single EROFS, after which changes succeed again, is nothing that a file system does.
  const bool may_go_read_only = profile_.read_only_after.per_million > 0;
  const std::span<const int> errors = errors_of(code, open_flags, may_go_read_only);
  if (errors.empty()) return 0;
  --left;
  ++errors_;
  return -errors[choices_.pick(static_cast<std::uint32_t>(errors.size()))];
}

std::int32_t Faults::interruption(OpCode code) {
  if (code != OpCode::read && code != OpCode::write) return 0;
  if (!happens(profile_.interrupted)) return 0;
  ++errors_;
  return choices_.pick(2) == 0 ? -EINTR : -EAGAIN;
}

std::uint32_t Faults::transferred(std::uint32_t bytes, std::uint32_t unit) {
  const std::uint32_t units = bytes / unit;
  if (units < 2 || !happens(profile_.short_transfer)) return bytes;
  ++short_transfers_;
  return unit * (1 + choices_.draw(units - 1));
}

std::int32_t Faults::refuse() noexcept {
  ++errors_;
  return -EIO;
}

bool Faults::lands_in_part() { return happens(profile_.half_done); }
bool Faults::drops_data() { return happens(profile_.failed_sync_drops); }
bool Faults::keeps_sizes() { return happens(profile_.sizes_survive); }
bool Faults::reads_lie() { return happens(profile_.reads_lie); }
bool Faults::direct_reads_lie() { return happens(profile_.direct_reads_lie); }
bool Faults::disk_lies() { return happens(profile_.disk_lies); }
bool Faults::evicts() { return happens(profile_.evicted); }
bool Faults::drops_names() { return happens(profile_.names_lost); }
bool Faults::goes_read_only() { return happens(profile_.read_only_after); }
bool Faults::shuts_down() { return happens(profile_.shut_down_after); }
bool Faults::takes_what_is_left() { return happens(profile_.short_when_full); }
bool Faults::sync_lies() { return happens(profile_.lying_sync); }
bool Faults::gets_stuck() { return happens(profile_.stuck); }

}  // namespace diorite::sim::detail
