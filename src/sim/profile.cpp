#include <diorite/sim/profile.hpp>

namespace diorite::sim {
namespace {

struct Named {
  std::string_view name;
  Profile (*make)() noexcept;
};

constexpr std::array<Named, 5> kNamed = {{{"calm", &Profile::calm},
                                          {"standard", &Profile::standard},
                                          {"hostile", &Profile::hostile},
                                          {"rotten", &Profile::rotten},
                                          {"bounded", &Profile::bounded}}};

}  // namespace

Area area_of(OpCode code) noexcept {
  switch (code) {
    case OpCode::read:
      return Area::reads;
    case OpCode::write:
    case OpCode::allocate:
    case OpCode::truncate:
      return Area::writes;
    case OpCode::sync_data:
    case OpCode::sync_all:
      return Area::syncs;
    case OpCode::nop:
    case OpCode::info:
    case OpCode::close:
    case OpCode::try_lock:
    case OpCode::drop_cache:
    case OpCode::open:
    case OpCode::call:
      return Area::files;
    case OpCode::make_dir:
    case OpCode::list_dir:
    case OpCode::rename:
    case OpCode::remove:
    case OpCode::sync_dir:
      return Area::directories;
  }
  return Area::files;
}

Profile Profile::calm() noexcept {
  Profile profile;
  profile.tears = false;
  profile.zombie = never();
  return profile;
}

Profile Profile::standard() noexcept { return {}; }

// A life of a few hundred operations should meet one error or two, not at its very beginning: most
// engines do little after the first. What an engine must survive and go on from (short transfers,
// interruptions, late operations) is far more frequent.
Profile Profile::hostile() noexcept {
  Profile profile;
  profile.stuck = per_mille(2);
  profile.garbage_block = per_cent(20);
  profile.unreadable_block = per_cent(10);
  profile.stale_space = per_cent(50);
  profile.directories = DirectoryModel::split;
  profile.error(OpCode::read) = per_mille(4);
  profile.error(OpCode::write) = per_mille(4);
  profile.error(OpCode::allocate) = per_mille(10);
  profile.error(OpCode::truncate) = per_mille(10);
  profile.error(OpCode::sync_data) = per_mille(6);
  profile.error(OpCode::sync_all) = per_mille(10);
  profile.error(OpCode::info) = per_mille(5);
  profile.error(OpCode::close) = per_mille(5);
  profile.error(OpCode::try_lock) = per_mille(5);
  profile.error(OpCode::drop_cache) = per_mille(5);
  profile.error(OpCode::open) = per_mille(20);
  profile.error(OpCode::make_dir) = per_mille(10);
  profile.error(OpCode::list_dir) = per_mille(10);
  profile.error(OpCode::rename) = per_mille(20);
  profile.error(OpCode::remove) = per_mille(20);
  profile.error(OpCode::sync_dir) = per_mille(20);
  profile.short_transfer = per_cent(3);
  profile.interrupted = per_cent(2);
  profile.read_only_after = per_cent(20);
  profile.shut_down_after = per_cent(30);
  return profile;
}

Profile Profile::rotten() noexcept {
  Profile profile = standard();
  profile.damage = per_cent(60);
  return profile;
}

Profile Profile::bounded() noexcept {
  Profile profile;
  profile.order = CompletionOrder::by_choice;
  return profile;
}

bool Profile::find(std::string_view name, Profile& profile) noexcept {
  for (const Named& named : kNamed) {
    if (named.name != name) continue;
    profile = named.make();
    return true;
  }
  return false;
}

std::string_view profile_names() noexcept { return "calm, standard, hostile, rotten, bounded"; }

}  // namespace diorite::sim
