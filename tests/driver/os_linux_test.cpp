// What Linux may refuse, and what becomes of it. A seccomp filter in a child process plays the old
// or restricted kernel.

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>

#include <diorite/buffer.hpp>

#include "driver/linux/dio_align.hpp"
#include "driver/os.hpp"
#include "driver/rig.hpp"
#include "support/death.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;
using detail::KernelStatx;

/// From here on this process gets `error` for the system call.
void refuse(long number, int error) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1),
      BPF_STMT(BPF_RET | BPF_K,
               SECCOMP_RET_ERRNO | (static_cast<unsigned>(error) & SECCOMP_RET_DATA)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
  DIORITE_ASSERT(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
  DIORITE_ASSERT(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0, "seccomp");
}

std::unique_ptr<Driver> make_pool(bool is_inline) {
  DriverOptions options;
  options.choice = DriverChoice::pool;
  options.pool_inline = is_inline;
  Result<std::unique_ptr<Driver>> driver = make_driver(options);
  DIORITE_ASSERT(driver, "the pool works everywhere");
  return std::move(*driver);
}

// In the child there is no test framework: an assertion that fails ends it.
std::int32_t run_quietly(Driver& driver, Op& op) {
  OpList done;
  driver.submit(op);
  while (op.state != OpState::done) driver.poll(done, kNever);
  DIORITE_ASSERT(done.pop_front() == &op && done.empty(), "one op, one report");
  op.state = OpState::idle;
  return op.result;
}

struct DurableWrite {
  std::string path;
  int write_error;  // what pwritev2 answers
  int sync_error;   // what fdatasync answers, 0 = the truth
  std::int32_t expected;

  void operator()() const {
    const auto driver = make_pool(true);
    PathOp open = path_op(OpCode::open, path, kOpenWrite);
    DIORITE_ASSERT(run_quietly(*driver, open) == 0, "open");
    refuse(SYS_pwritev2, write_error);
    if (sync_error != 0) refuse(SYS_fdatasync, sync_error);
    std::array<char, 100> text{};
    Op write = transfer(OpCode::write, open.file, 0, text.data(), text.size());
    write.flags = kOpDsync;
    DIORITE_ASSERT(run_quietly(*driver, write) == expected, "the durable write's result");
    DIORITE_ASSERT(driver->counters().dsync_emulated == 1, "the emulation is counted");
    Op close = file_op(OpCode::close, open.file);
    run_quietly(*driver, close);
  }
};

}  // namespace

TEST_CASE("a durable write becomes a write and a sync where the kernel lacks it", "[os]") {
  const TempDir dir;
  const std::string path = dir.write("data", "x");
  for (const int error : {EOPNOTSUPP, ENOSYS, EINVAL}) {
    const Death death = run_in_child(DurableWrite{path, error, 0, 100});
    INFO(death.error_output);
    CHECK(death.survived());
    // Not durable after all: the sync decides.
    const Death failed = run_in_child(DurableWrite{path, error, EIO, -EIO});
    INFO(failed.error_output);
    CHECK(failed.survived());
  }
}

TEST_CASE("a misaligned direct durable write stays an EINVAL", "[os]") {
  const TempDir dir;
  const auto driver = make_pool(true);
  const DriverFile file =
      open_file(*driver, dir.file("data"), kOpenWrite | kOpenCreate | kOpenDirect);
  auto page = AlignedBuf::page();
  REQUIRE(page);
  Op write = transfer(OpCode::write, file, 1, page->data(), 4096);
  write.flags = kOpDsync;
  CHECK(run(*driver, write) == -EINVAL);
  CHECK(driver->counters().dsync_emulated == 0);
  write.offset = 0;
  CHECK(run(*driver, write) == 4096);
  CHECK(driver->counters().dsync_emulated == 0);
  close_file(*driver, file);
}

TEST_CASE("info does without statx", "[os]") {
  const TempDir dir;
  const std::string path = dir.write("data", std::string(777, 'x'));
  for (const int error : {ENOSYS, EPERM}) {
    const auto code = [&path, error] {
      const auto driver = make_pool(true);
      PathOp open = path_op(OpCode::open, path, 0);
      DIORITE_ASSERT(run_quietly(*driver, open) == 0, "open");
      InfoOp with;
      with.code = OpCode::info;
      with.file = open.file;
      DIORITE_ASSERT(run_quietly(*driver, with) == 0, "info with statx");
      refuse(SYS_statx, error);
      InfoOp without;
      without.code = OpCode::info;
      without.file = open.file;
      DIORITE_ASSERT(run_quietly(*driver, without) == 0, "info without statx");
      DIORITE_ASSERT(without.info.bytes == 777, "size");
      DIORITE_ASSERT(without.info.kind == FileKind::regular, "kind");
      DIORITE_ASSERT(without.info.device == with.info.device, "device");
      DIORITE_ASSERT(without.info.inode == with.info.inode, "inode");
      DIORITE_ASSERT(without.info.direct_possible, "direct");
      DIORITE_ASSERT(without.info.align.source == AlignSource::device ||
                         without.info.align.source == AlignSource::assumed,
                     "source");
      Op close = file_op(OpCode::close, open.file);
      run_quietly(*driver, close);
    };
    const Death death = run_in_child(code);
    INFO(death.error_output);
    CHECK(death.survived());
  }
}

TEST_CASE("a pool that gets no thread says so in the op's result", "[os]") {
  const auto code = [] {
    const auto driver = make_pool(false);
    refuse(SYS_clone3, EAGAIN);
    refuse(SYS_clone, EAGAIN);
    PathOp open = path_op(OpCode::open, "/", 0);
    DIORITE_ASSERT(run_quietly(*driver, open) == -EAGAIN, "the op's result");
    DIORITE_ASSERT(run_quietly(*driver, open) == -EAGAIN, "the op's result, again");
    DIORITE_ASSERT(driver->counters().pool_ops == 0, "no thread has run it");
  };
  const Death death = run_in_child(code);
  INFO(death.error_output);
  CHECK(death.survived());
}

TEST_CASE("what a file's owner alone may ask for is dropped; what is forbidden is told", "[os]") {
  const TempDir dir;
  const std::string secret = dir.write("secret", "x");
  const auto code = [&secret] {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0) DIORITE_ASSERT(::setuid(kNobody) == 0, "setuid");
    const auto driver = make_pool(true);
    PathOp open = path_op(OpCode::open, "/etc/passwd", kOpenNoAtime);
    DIORITE_ASSERT(run_quietly(*driver, open) == 0, "open without noatime");
    Op close = file_op(OpCode::close, open.file);
    run_quietly(*driver, close);
    PathOp write = path_op(OpCode::open, "/etc/passwd", kOpenWrite);
    DIORITE_ASSERT(run_quietly(*driver, write) == -EACCES, "write to a foreign file");
    PathOp denied = path_op(OpCode::open, secret, 0);
    const std::int32_t result = run_quietly(*driver, denied);
    DIORITE_ASSERT(result == -EACCES || result == 0, "a file in a closed folder");
  };
  const Death death = run_in_child(code);
  INFO(death.error_output);
  CHECK(death.survived());
}

TEST_CASE("the kernel's word on direct I/O comes first", "[os]") {
  KernelStatx answer{};
  answer.mode = S_IFREG | 0600;
  answer.bytes = 5;
  FileInfo info;

  SECTION("it tells") {
    answer.mask = detail::kStatxBasic | detail::kStatxDioAlign;
    answer.dio_mem_align = 4;
    answer.dio_offset_align = 512;
    REQUIRE(detail::file_info_from(answer, -1, info) == 0);
    CHECK(info.direct_possible);
    CHECK(info.align.memory == 4);
    CHECK(info.align.offset == 512);
    CHECK(info.align.read_offset == 512);
    CHECK(info.align.source == AlignSource::kernel);
    answer.mask |= detail::kStatxDioReadAlign;
    answer.dio_offset_align = 4096;
    answer.dio_read_offset_align = 512;
    REQUIRE(detail::file_info_from(answer, -1, info) == 0);
    CHECK(info.align.offset == 4096);
    CHECK(info.align.read_offset == 512);
    answer.dio_read_offset_align = 0;
    REQUIRE(detail::file_info_from(answer, -1, info) == 0);
    CHECK(info.align.read_offset == 4096);
  }
  SECTION("it says no") {
    answer.mask = detail::kStatxBasic | detail::kStatxDioAlign;
    REQUIRE(detail::file_info_from(answer, -1, info) == 0);
    CHECK_FALSE(info.direct_possible);
    CHECK(info.align.source == AlignSource::none);
    CHECK(info.align.offset == 1);
  }
  SECTION("it says nothing, and there is no device") {
    answer.mask = detail::kStatxBasic;
    answer.dio_mem_align = 512;
    answer.dio_offset_align = 512;
    REQUIRE(detail::file_info_from(answer, -1, info) == 0);
    CHECK(info.direct_possible);
    CHECK(info.align.memory == 4096);
    CHECK(info.align.offset == 4096);
    CHECK(info.align.source == AlignSource::assumed);
    CHECK(info.physical_block_bytes == 0);
  }
}

TEST_CASE("the high bits of a handle are the driver's", "[os]") {
  const DriverFile file = detail::os_driver_file(7);
  CHECK(detail::os_descriptor(file) == 7);
  CHECK(detail::os_descriptor(DriverFile{file.value | (std::uint64_t{3} << 32)}) == 7);
  CHECK(detail::os_descriptor(DriverFile{}) == -1);
}
