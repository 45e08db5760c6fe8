// The simulated disk answers as real ones do: random lists of operations on the simulated driver,
// on io_uring and on the pool, over the file systems that are here.
//
//   DIORITE_DIFFERENTIAL_LISTS=10000 test_differential    more of them than in a usual run
//   DIORITE_DIFFERENTIAL_FIRST=4711                       from this one on

#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <diorite/sim/machine.hpp>

#include "driver/rig.hpp"
#include "sim/op_list.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

constexpr std::size_t kPathBytesMax = 4095;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::unique_ptr<Driver> make_real(DriverChoice choice) {
  DriverOptions options;
  options.choice = choice;
  Result<std::unique_ptr<Driver>> driver = make_driver(options);
  if (!driver) FAIL(driver.error().text());
  return std::move(*driver);
}

struct Real {
  const char* name;
  std::unique_ptr<Driver> driver;
};

std::vector<Real> real_drivers() {
  std::vector<Real> all;
  all.push_back({"pool", make_real(DriverChoice::pool)});
  if (ring_is_wanted() && ring_is_here()) {
    all.push_back({"uring", make_real(DriverChoice::uring)});
  }
  return all;
}

/// What the file system of `dir` can do, asked of a file in it.
ListPlace place_of(Driver& driver, const TempDir& dir, bool direct) {
  ListPlace place;
  const DriverFile file = open_file(driver, dir.file("probe"));
  InfoOp info;
  info.code = OpCode::info;
  info.file = file;
  REQUIRE(run(driver, info) == 0);
  close_file(driver, file);
  place.direct = direct && info.info.direct_possible;
  if (place.direct) {
    place.align = info.info.align.offset;
    place.memory = info.info.align.memory;
  }
  return place;
}

std::vector<ListedResult> run_simulated(const ListPlace& place, std::uint64_t seed,
                                        const std::vector<ListedOp>& list) {
  sim::Choices choices = sim::Choices::random(seed);
  sim::MachineOptions options;
  options.disk.offset_align = place.align;
  options.disk.memory_align = place.memory;
  options.disk.direct_possible = place.direct;
  sim::Machine machine(choices, sim::Profile::calm(), options);
  const std::unique_ptr<Driver> driver = machine.make_driver();
  const std::string root = "/root";
  PathOp make = path_op(OpCode::make_dir, root);
  REQUIRE(run(*driver, make) == 0);
  return run_list(*driver, root, list);
}

/// Where Linux legitimately answers otherwise than the simulated disk.
bool may_differ(const ListedOp& op, const ListedResult& sim, const ListedResult& real) {
  // io_uring reads both names before it looks for either.
  const bool renames = op.code == OpCode::rename;
  const bool long_name = renames && op.path2.size() > kPathBytesMax;
  if (long_name && sim.result < 0 && real.result == -ENAMETOOLONG) return true;
  // POSIX has both answers for a directory that is to be replaced and is not empty; XFS has this
  // one.
  if (renames && sim.result == -ENOTEMPTY && real.result == -EEXIST) return true;
  if (op.code != OpCode::read) return false;
  // Linux looks at the alignment of a direct read only where it comes to blocks on the device: not
  // beyond the end of the file, and not in holes. The simulated disk always does.
  if (sim.result == -EINVAL && real.result >= 0) return true;
  // io_uring finds nothing wrong with reading no bytes of a directory.
  return op.bytes == 0 && sim.result == -EISDIR && real.result == 0;
}

/// The operations up to the first that was answered otherwise; empty when there is none.
std::string difference(const std::vector<ListedOp>& list, const std::vector<ListedResult>& sim,
                       const std::vector<ListedResult>& real) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (sim[i] == real[i] || may_differ(list[i], sim[i], real[i])) continue;
    std::string text;
    for (std::size_t j = 0; j <= i; ++j) {
      if (!sim[j].skipped) text += "  " + describe(list[j]) + " -> " + describe(sim[j]) + '\n';
    }
    return text + "  but really " + describe(real[i]) + '\n';
  }
  return {};
}

void compare(const char* where, bool direct) {
  const std::uint64_t lists = from_environment("DIORITE_DIFFERENTIAL_LISTS", 1000);
  const std::uint64_t first = from_environment("DIORITE_DIFFERENTIAL_FIRST", 1);
  std::vector<Real> reals = real_drivers();
  ListPlace place;
  {
    const TempDir probe;
    place = place_of(*reals[0].driver, probe, direct);
  }
  std::uint64_t operations = 0;
  std::uint32_t differences = 0;
  for (std::uint64_t seed = first; seed < first + lists; ++seed) {
    const std::vector<ListedOp> list = make_list(seed, place);
    const std::vector<ListedResult> simulated = run_simulated(place, seed, list);
    for (const Real& real : reals) {
      const TempDir dir;
      const std::string wrong =
          difference(list, simulated, run_list(*real.driver, dir.path(), list));
      if (wrong.empty()) continue;
      std::printf("list %llu on %s:\n%s\n", static_cast<unsigned long long>(seed), real.name,
                  wrong.c_str());
      FAIL_CHECK("list " << seed << " on " << real.name << " is answered otherwise");
      if (++differences == 20) FAIL("and so on");
    }
    operations += static_cast<std::uint64_t>(std::count_if(
        simulated.begin(), simulated.end(), [](const auto& each) { return !each.skipped; }));
  }
  std::printf("%s: %llu lists, %llu operations on each of %zu real drivers, alignment %u, %s\n",
              where, static_cast<unsigned long long>(lists),
              static_cast<unsigned long long>(operations), reals.size(), place.align,
              place.direct ? "direct and buffered" : "buffered");
}

}  // namespace

TEST_CASE("the simulated disk answers as the file system of the build does", "[build]") {
  compare("here", true);
}

TEST_CASE("the simulated disk answers as a tmpfs does", "[tmpfs]") {
  constexpr long kTmpfsMagic = 0x01021994;
  struct statfs found;
  if (::statfs("/dev/shm", &found) != 0 || found.f_type != kTmpfsMagic ||
      ::access("/dev/shm", W_OK) != 0) {
    WARN("there is no tmpfs that can be written at /dev/shm");
    return;
  }
  const char* const before = std::getenv("DIORITE_TEST_DIR");
  const std::string saved = before != nullptr ? before : "";
  ::setenv("DIORITE_TEST_DIR", "/dev/shm", 1);
  compare("tmpfs", false);
  ::setenv("DIORITE_TEST_DIR", saved.c_str(), 1);
}
