// Faults: which operations of a simulated machine go wrong, and how.
//
// Each answer is one decision by the machine's Choices, with the profile's probability, within the
// budget of the operation's area. It only decides: what a failure leaves on the disk is the
// Kernel's to do.
//
// Thread: one. Lifetime: choices outlives it.
//
//   if (const std::int32_t error = faults.error(OpCode::write, 0); error != 0) ...  // e.g. -EIO

#pragma once

#include <cstdint>
#include <span>

#include <diorite/driver/op.hpp>
#include <diorite/sim/choices.hpp>
#include <diorite/sim/profile.hpp>

namespace diorite::sim::detail {

/// The errnos that an operation of this kind may be given, the plainest first. What only creates or
/// changes files is left out where `open_flags` do not ask for it, and EROFS where it could not
/// last (`may_go_read_only` is false).
std::span<const int> errors_of(OpCode code, std::uint32_t open_flags,
                               bool may_go_read_only) noexcept;

class Faults {
 public:
  Faults(Choices& choices, const Profile& profile) noexcept
      : choices_(choices), profile_(profile), left_(profile.budget) {}

  /// 0, or the negated errno with which the operation fails.
  std::int32_t error(OpCode code, std::uint32_t open_flags);
  /// 0, or -EINTR or -EAGAIN: nothing was done. Transfers only.
  std::int32_t interruption(OpCode code);
  /// How much of a transfer takes place: more than nothing, and a multiple of `unit` unless it is
  /// all of it.
  std::uint32_t transferred(std::uint32_t bytes, std::uint32_t unit);

  bool lands_in_part();
  bool drops_data();
  bool keeps_sizes();
  bool reads_lie();
  bool direct_reads_lie();
  bool disk_lies();
  bool evicts();
  bool drops_names();
  bool goes_read_only();
  bool shuts_down();
  /// Whether a sync is refused where nothing can be written any more.
  bool refuses_sync() { return choices_.pick(2) == 1; }
  bool takes_what_is_left();
  bool sync_lies();
  bool gets_stuck();

  /// Nothing goes wrong from now on.
  void heal() noexcept {
    healed_ = true;
    stopped_ = false;
  }
  /// The file system has shut down, until it is mounted anew.
  void stop() noexcept { stopped_ = true; }
  void mount() noexcept { stopped_ = false; }
  bool stopped() const noexcept { return stopped_; }
  /// What it answers then.
  std::int32_t refuse() noexcept;
  bool healed() const noexcept { return healed_; }
  std::uint64_t errors() const noexcept { return errors_; }
  std::uint64_t short_transfers() const noexcept { return short_transfers_; }
  /// Of what decides about faults to come.
  std::uint64_t fingerprint() const noexcept {
    std::uint64_t hash = (healed_ ? 1U : 0U) + (stopped_ ? 2U : 0U);
    for (const std::uint32_t left : left_) hash = hash * 0x9E37'79B9'7F4A'7C15 + left;
    return hash;
  }

 private:
  bool happens(Chance chance) { return !healed_ && choices_.chance(chance); }

  Choices& choices_;
  const Profile& profile_;
  std::array<std::uint32_t, kAreaCount> left_;
  std::uint64_t errors_ = 0;
  std::uint64_t short_transfers_ = 0;
  bool healed_ = false;
  bool stopped_ = false;
};

}  // namespace diorite::sim::detail
