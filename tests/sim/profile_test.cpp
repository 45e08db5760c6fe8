// Profiles: their names, and what the names promise.

#include <diorite/sim/profile.hpp>

#include <cstring>
#include <string>

#include "support/catch.hpp"

using namespace diorite;
using namespace diorite::sim;

namespace {

bool has_errors(const Profile& profile) {
  for (const Chance chance : profile.errors) {
    if (chance.per_million > 0) return true;
  }
  return profile.short_transfer.per_million > 0 || profile.interrupted.per_million > 0 ||
         profile.stuck.per_million > 0;
}

bool damages_blocks(const Profile& profile) {
  return profile.garbage_block.per_million > 0 || profile.unreadable_block.per_million > 0;
}

bool is_honest(const Profile& profile) {
  return profile.damage.per_million == 0 && profile.lying_sync.per_million == 0;
}

}  // namespace

TEST_CASE("every profile is found by its name", "[sim][profile]") {
  std::string names;
  for (const char* const name : {"calm", "standard", "hostile", "rotten", "bounded"}) {
    Profile profile;
    CHECK(Profile::find(name, profile));
    if (!names.empty()) names += ", ";
    names += name;
  }
  CHECK(profile_names() == names);
  Profile untouched;
  untouched.short_transfer = per_cent(7);
  CHECK_FALSE(Profile::find("Calm", untouched));
  CHECK_FALSE(Profile::find("", untouched));
  CHECK(untouched.short_transfer.per_million == 70'000);
  Profile found;
  REQUIRE(Profile::find("hostile", found));
  CHECK(found.error(OpCode::sync_data).per_million ==
        Profile::hostile().error(OpCode::sync_data).per_million);
}

TEST_CASE("profiles keep what their names promise", "[sim][profile]") {
  for (const Profile& profile : {Profile::calm(), Profile::standard(), Profile::bounded()}) {
    CHECK_FALSE(has_errors(profile));
    CHECK_FALSE(damages_blocks(profile));
    CHECK(is_honest(profile));
  }
  CHECK_FALSE(Profile::calm().tears);
  CHECK(Profile::standard().tears);
  CHECK(Profile::bounded().order == CompletionOrder::by_choice);

  const Profile hostile = Profile::hostile();
  CHECK(is_honest(hostile));
  CHECK(damages_blocks(hostile));
  CHECK(hostile.read_only_after.per_million > 0);
  for (std::size_t code = 1; code < kOpCodeCount; ++code) {
    CAPTURE(to_string(static_cast<OpCode>(code)));
    // A function of the user's fails as it likes.
    const bool can_fail = static_cast<OpCode>(code) != OpCode::call;
    CHECK((hostile.errors[code].per_million > 0) == can_fail);
  }
  CHECK(Profile::rotten().damage.per_million > 0);
  CHECK_FALSE(has_errors(Profile::rotten()));
}

TEST_CASE("every operation counts for one area", "[sim][profile]") {
  CHECK(area_of(OpCode::read) == Area::reads);
  for (const OpCode code : {OpCode::write, OpCode::allocate, OpCode::truncate}) {
    CHECK(area_of(code) == Area::writes);
  }
  CHECK(area_of(OpCode::sync_data) == Area::syncs);
  CHECK(area_of(OpCode::sync_all) == Area::syncs);
  for (const OpCode code :
       {OpCode::open, OpCode::close, OpCode::info, OpCode::try_lock, OpCode::drop_cache}) {
    CHECK(area_of(code) == Area::files);
  }
  for (const OpCode code :
       {OpCode::make_dir, OpCode::list_dir, OpCode::rename, OpCode::remove, OpCode::sync_dir}) {
    CHECK(area_of(code) == Area::directories);
  }
}
