// The tests' own instruments: a test that counts with a broken counter proves nothing.

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/temp_dir.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

using diorite::test::AllocCount;
using diorite::test::Death;
using diorite::test::run_in_child;
using diorite::test::TempDir;

namespace {

struct alignas(4096) Page {
  unsigned char bytes[4096];
};

// The compiler may elide a pair of new and delete that it sees through.
template <class T>
T* launder_new(T* pointer) {
  asm volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

}  // namespace

TEST_CASE("alloc counter: counts every form of new and delete, on the right thread", "[support]") {
  const AllocCount count;
  delete launder_new(new int(1));
  delete[] launder_new(new char[100]);
  delete launder_new(new Page);
  delete launder_new(new (std::nothrow) int(2));
  CHECK(count.here().news == 4);
  CHECK(count.here().deletes == 4);
  CHECK(count.here().bytes == 2 * sizeof(int) + 100 + sizeof(Page));

  const AllocCount before_thread;
  std::thread([] { delete launder_new(new int(3)); }).join();
  CHECK(before_thread.everywhere().news >= before_thread.here().news + 1);
}

TEST_CASE("temp dir: is made empty below the base and removed with what is in it", "[support]") {
  std::string path;
  {
    const TempDir dir;
    const TempDir other;
    path = dir.path();
    CHECK(path != other.path());
    CHECK(::access(path.c_str(), W_OK) == 0);
    CHECK(dir.write("a", "bytes") == path + "/a");
    CHECK(dir.read("a") == "bytes");
    dir.write("a", "");
    CHECK(dir.read("a").empty());
    CHECK(dir.exists("a"));
    CHECK_FALSE(dir.exists("b"));
    REQUIRE(::mkdir(dir.file("sub").c_str(), 0700) == 0);
    REQUIRE(::mkdir(dir.file("sub/closed").c_str(), 0700) == 0);
    dir.write("sub/closed/c", "deep");
    REQUIRE(::symlink(other.path().c_str(), dir.file("link").c_str()) == 0);
    REQUIRE(::chmod(dir.file("sub/closed").c_str(), 0) == 0);
    other.write("kept", "1");
    static_cast<void>(other.read("kept"));
  }
  CHECK(::access(path.c_str(), F_OK) != 0);
}

TEST_CASE("temp dir: does not follow a link out of itself", "[support]") {
  const TempDir outside;
  outside.write("kept", "1");
  {
    const TempDir dir;
    REQUIRE(::symlink(outside.path().c_str(), dir.file("link").c_str()) == 0);
  }
  CHECK(outside.exists("kept"));
}

TEST_CASE("death: tells an abort from an end and from another exit", "[support]") {
  const Death fine = run_in_child([] {});
  CHECK(fine.survived());
  CHECK_FALSE(fine.aborted());
  const Death left = run_in_child([] { ::_exit(3); });
  CHECK_FALSE(left.survived());
  CHECK_FALSE(left.aborted());
}
