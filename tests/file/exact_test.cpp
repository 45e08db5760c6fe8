// Exact transfers: how they go on after short, interrupted and failed steps.

#include <cerrno>

#include "file/forms.hpp"
#include "file/memory_driver.hpp"

namespace diorite::test {
namespace {

struct MemoryRig {
  MemoryRig() : MemoryRig(std::make_unique<MemoryDriver>()) {}
  DirectFile open(Direct direct = Direct::preferred) {
    DirectFile file = open_file(*reactor, "data", writable(direct));
    driver.steps.clear();
    return file;
  }
  MemoryDriver& driver;
  std::unique_ptr<Reactor> reactor;

 private:
  explicit MemoryRig(std::unique_ptr<MemoryDriver> owned)
      : driver(*owned), reactor(make_reactor_on(std::move(owned))) {}
};

constexpr std::uint32_t kAwkward[] = {1, 511, 512, 513, 4095, 4096, 4097};

}  // namespace

TEST_CASE("a direct transfer that was cut short goes on at the aligned point below") {
  for (const Form form : kForms) {
    for (const std::uint32_t align : {512U, 4096U}) {
      for (const std::uint32_t cut : kAwkward) {
        DYNAMIC_SECTION(name_of(form) << " align " << align << " cut " << cut) {
          MemoryRig rig;
          rig.driver.align = align;
          DirectFile file = rig.open();
          Memory memory(form, 4 * kPage);
          fill(memory.bytes(), 13);
          rig.driver.script = {cut};
          const IoResult written =
              run(*rig.reactor, memory.transfer(file, Way::write_at, kPage, 4 * kPage));
          REQUIRE(written);
          CHECK(written.bytes() == 4 * kPage);
          REQUIRE(rig.driver.steps.size() == 2);
          const std::uint64_t next = cut / align * align;
          CHECK(rig.driver.steps[1].offset == kPage + next);
          CHECK(rig.driver.steps[1].bytes == 4 * kPage - next);
          CHECK(rig.reactor->stats().resubmits == 1);

          fill(memory.bytes(), 99);
          rig.driver.steps.clear();
          rig.driver.script = {cut, cut + align};
          const IoResult read =
              run(*rig.reactor, memory.transfer(file, Way::read_at, kPage, 4 * kPage));
          REQUIRE(read);
          CHECK(read.bytes() == 4 * kPage);
          CHECK(holds(memory.bytes(), 13));
          CHECK(rig.driver.steps.size() == 3);
          for (const MemoryDriver::Step& step : rig.driver.steps) {
            CHECK(step.offset % align == 0);
            CHECK(step.bytes % align == 0);
            CHECK(step.offset + step.bytes == 5 * kPage);
          }
          close_file(*rig.reactor, std::move(file));
        }
      }
    }
  }
}

TEST_CASE("a step that is cut shorter than the one before it is not the end of the file") {
  for (const Form form : kForms) {
    DYNAMIC_SECTION(name_of(form)) {
      MemoryRig rig;
      rig.driver.align = 4096;
      DirectFile file = rig.open();
      Memory memory(form, 2 * kPage);
      fill(memory.bytes(), 31);
      rig.driver.script = {kPage + 1024, 512};
      const IoResult written =
          run(*rig.reactor, memory.transfer(file, Way::write_at, 0, 2 * kPage));
      CHECK(written);
      CHECK(rig.driver.steps.size() == 3);
      fill(memory.bytes(), 1);
      rig.driver.steps.clear();
      rig.driver.script = {kPage + 1024, 512, 0};
      const IoResult read = run(*rig.reactor, memory.transfer(file, Way::read_at, 0, 2 * kPage));
      CHECK(read);
      CHECK(read.bytes() == 2 * kPage);
      CHECK(holds(memory.bytes(), 31));
      CHECK(rig.driver.steps.size() == 4);
      close_file(*rig.reactor, std::move(file));
    }
  }
}

TEST_CASE("a buffered transfer goes on at the very byte") {
  for (const std::uint32_t cut : kAwkward) {
    DYNAMIC_SECTION("cut " << cut) {
      const TempDir dir;
      FaultReactor rig = make_fault_reactor();
      DirectFile file = open_file(*rig.reactor, dir.file("data"), writable(Direct::off));
      rig.faults.shorten(OpCode::write, 1, cut);
      rig.faults.clear_log();
      REQUIRE(wait(*rig.reactor, file.write_at(filled(3 * kPage, 8), 77)));
      CHECK(rig.faults.count(OpCode::write) == 2);
      for (const FaultDriver::Event& event : rig.faults.log()) {
        if (event.kind != FaultDriver::Event::Kind::submitted || event.offset == 77) continue;
        CHECK(event.offset == 77 + cut);
        CHECK(event.length == 3 * kPage - cut);
      }
      rig.faults.shorten(OpCode::read, 1, cut);
      rig.faults.shorten(OpCode::read, 2, 1);
      const BufIoResult read = wait(*rig.reactor, file.read_at(buffer(3 * kPage), 77));
      REQUIRE(read);
      CHECK(holds(read.buf().bytes(), 8));
      CHECK(rig.faults.count(OpCode::read) == 3);
      close_file(*rig.reactor, std::move(file));
      CHECK(holds(as_bytes(dir.read("data")).subspan(77), 8));
    }
  }
}

TEST_CASE("a direct transfer that the system really cuts goes on") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
  const std::uint32_t unit = file.alignment().offset;
  rig.faults.shorten(OpCode::write, 1, unit);
  rig.faults.shorten(OpCode::write, 2, 4096);
  REQUIRE(wait(*rig.reactor, file.write_at(filled(8 * kPage, 8), 0)));
  CHECK(rig.faults.count(OpCode::write) == 3);
  rig.faults.shorten(OpCode::read, 1, 4096);
  const BufIoResult read = wait(*rig.reactor, file.read_at(buffer(8 * kPage), 0));
  REQUIRE(read);
  CHECK(holds(read.buf().bytes(), 8));
  close_file(*rig.reactor, std::move(file));
  CHECK(holds(as_bytes(dir.read("data")), 8));
}

TEST_CASE("a write that moves nothing is short, and does not go on for ever") {
  MemoryRig rig;
  DirectFile file = rig.open();
  rig.driver.script = {0};
  BufIoResult result = wait(*rig.reactor, file.write_at(filled(2 * kPage, 1), 0));
  CHECK(result.error() == Errc::short_io);
  CHECK(result.error().a() == 2 * kPage);
  CHECK(result.error().b() == 0);
  CHECK(result.bytes() == 0);
  CHECK(says(result.error(), "write_at data offset 0 length 8192: fewer bytes than expected"));
  CHECK(says(result.error(), "the system took no more bytes"));
  CHECK(result.buf().size() == 2 * kPage);
  CHECK(rig.driver.steps.size() == 1);

  // A step that only repeats what had been transferred before is no progress either.
  rig.driver.steps.clear();
  rig.driver.script = {5000, 5000 - 4608, 0, 0, 0};
  result = wait(*rig.reactor, file.write_at(std::move(result).buf(), 0));
  CHECK(result.error() == Errc::short_io);
  CHECK(result.error().b() == 5000);
  CHECK(result.bytes() == 5000);
  CHECK(rig.driver.steps.size() == 2);
  CHECK(file.is_dirty());
  CHECK_FALSE(static_cast<bool>(file.poison()));
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("EINTR and EAGAIN are repeated, but not for ever") {
  const int error = GENERATE(EINTR, EAGAIN);
  const Way way = GENERATE(Way::read_at, Way::write_at);
  MemoryRig rig;
  rig.driver.content.resize(2 * kPage);
  DirectFile file = rig.open();
  Memory memory(Form::pinned, 2 * kPage);

  rig.driver.script.assign(10, -error);
  const IoResult fine = run(*rig.reactor, memory.transfer(file, way, 0, 2 * kPage));
  CHECK(fine);
  CHECK(fine.bytes() == 2 * kPage);
  CHECK(rig.driver.steps.size() == 11);

  // Progress starts the count anew.
  rig.driver.script.assign(40, -error);
  rig.driver.script.push_back(kPage);
  rig.driver.script.insert(rig.driver.script.end(), 40, -error);
  const IoResult slow = run(*rig.reactor, memory.transfer(file, way, 0, 2 * kPage));
  CHECK(slow);
  CHECK(slow.bytes() == 2 * kPage);

  rig.driver.steps.clear();
  rig.driver.script.assign(100000, -error);
  rig.driver.script.push_front(512);
  const IoResult never = run(*rig.reactor, memory.transfer(file, way, 0, 2 * kPage));
  CHECK(never.error().code() == std::error_code(error, std::generic_category()));
  CHECK(is_transient(never.error()));
  CHECK(never.bytes() == 512);
  CHECK(rig.driver.steps.size() < 100);
  CHECK_FALSE(static_cast<bool>(file.poison()));
  rig.driver.script.clear();
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("a failure in the middle tells how much was done") {
  MemoryRig rig;
  rig.driver.content.resize(4 * kPage);
  DirectFile file = rig.open();
  rig.driver.script = {5000, -ENOSPC};
  const BufIoResult written = wait(*rig.reactor, file.write_at(filled(4 * kPage, 1), 0));
  CHECK(written.error() == std::errc::no_space_on_device);
  CHECK(written.bytes() == 5000);
  CHECK(file.is_dirty());
  rig.driver.script = {5000, -EIO};
  const BufIoResult read = wait(*rig.reactor, file.read_at(buffer(4 * kPage), 0));
  CHECK(read.error() == std::errc::io_error);
  CHECK(read.bytes() == 5000);
  CHECK(read.buf().size() == 5000);
  // A read that fails makes nothing of what is written indeterminate.
  CHECK_FALSE(static_cast<bool>(file.poison()));
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("a transfer longer than one operation may be is done in pieces") {
  const Way way = GENERATE(Way::read_at, Way::write_at);
  MemoryRig rig;
  rig.driver.touches_memory = false;
  DirectFile file = rig.open();
  Frame frame(kPage);
  constexpr std::uint64_t kBytes = 2 * kIoBytesMax + 3 * kPage;
  // Nothing touches it but the arithmetic of addresses.
  RawIoBuf huge(frame.bytes().data(), kBytes);
  Result<RawIoBuf> all = huge.with_len(kBytes);
  REQUIRE(all);
  IoResult result = way == Way::read_at ? wait(*rig.reactor, file.read_at(*all, kPage))
                                        : wait(*rig.reactor, file.write_at(*all, kPage));
  REQUIRE(result);
  CHECK(result.bytes() == kBytes);
  REQUIRE(rig.driver.steps.size() == 3);
  CHECK(rig.driver.steps[0].bytes == kIoBytesMax);
  CHECK(rig.driver.steps[1].offset == kPage + kIoBytesMax);
  CHECK(rig.driver.steps[1].bytes == kIoBytesMax);
  CHECK(rig.driver.steps[2].offset == kPage + 2 * kIoBytesMax);
  CHECK(rig.driver.steps[2].bytes == 3 * kPage);

  // Cut in the second piece.
  rig.driver.steps.clear();
  rig.driver.script = {kIoBytesMax, 777, -EIO};
  result = way == Way::read_at ? wait(*rig.reactor, file.read_at(*all, 0))
                               : wait(*rig.reactor, file.write_at(*all, 0));
  CHECK(result.error() == std::errc::io_error);
  CHECK(result.bytes() == kIoBytesMax + 777);
  CHECK(rig.driver.steps[2].offset == kIoBytesMax + 512);

  const Result<void> closed = run(*rig.reactor, std::move(file).close());
  CHECK(closed);
}

TEST_CASE("read_some_at is one operation, whatever it answers") {
  MemoryRig rig;
  rig.driver.content.resize(4 * kPage);
  DirectFile file = rig.open();
  rig.driver.script = {513};
  const BufIoResult result = wait(*rig.reactor, file.read_some_at(buffer(2 * kPage), 0));
  REQUIRE(result);
  CHECK(result.bytes() == 513);
  CHECK(result.buf().size() == 513);
  CHECK(rig.driver.steps.size() == 1);

  rig.driver.touches_memory = false;
  Frame frame(kPage);
  const IoResult huge =
      wait(*rig.reactor, file.read_some_at(RawIoBuf(frame.bytes().data(), 3 * kIoBytesMax), 0));
  REQUIRE(huge);
  CHECK(huge.bytes() == kIoBytesMax);
  CHECK(rig.driver.steps.size() == 2);
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("stopped during a step that is cut short or interrupted, a transfer begins no other") {
  for (const Form form : kForms) {
    for (const Way way : {Way::write_at, Way::read_at}) {
      for (const std::int64_t step : {std::int64_t{600}, std::int64_t{-EINTR}}) {
        DYNAMIC_SECTION(name_of(form) << (way == Way::write_at ? " write " : " read ") << step) {
          MemoryRig rig;
          DirectFile file = rig.open();
          rig.driver.content.resize(2 * kPage);
          Memory memory(form, 2 * kPage);
          rig.driver.script = {step};
          StopSource stop;
          Running<IoResult> running =
              start(*rig.reactor, memory.transfer(file, way, 0, 2 * kPage), stop.token());
          rig.reactor->turn(kAtOnce);
          REQUIRE(rig.driver.in_flight() == 1);
          stop.request_stop();
          const IoResult result = finish(*rig.reactor, running);
          CHECK(result.error() == Errc::cancelled);
          CHECK(result.bytes() == (step > 0 ? 600U : 0U));
          CHECK(rig.driver.steps.size() == 1);
          CHECK(rig.reactor->stats().resubmits == 0);
          CHECK(file.is_dirty() == (way == Way::write_at && step > 0));
          CHECK_FALSE(static_cast<bool>(file.poison()));
          close_file(*rig.reactor, std::move(file));
        }
      }
    }
  }
}

TEST_CASE("stopped during its last step, or one that fails, a transfer has its own result") {
  for (const std::int64_t step : {std::int64_t{2 * kPage}, std::int64_t{-EIO}}) {
    DYNAMIC_SECTION(step) {
      MemoryRig rig;
      DirectFile file = rig.open();
      Memory memory(Form::owned, 2 * kPage);
      rig.driver.script = {600, step};
      StopSource stop;
      Running<IoResult> running =
          start(*rig.reactor, memory.transfer(file, Way::write_at, 0, 2 * kPage), stop.token());
      while (rig.driver.steps.size() < 2) rig.reactor->turn(kNever);
      stop.request_stop();
      const IoResult result = finish(*rig.reactor, running);
      if (step > 0) {
        CHECK(result);
        CHECK(result.bytes() == 2 * kPage);
      } else {
        CHECK(result.error() == std::errc::io_error);
        CHECK(result.bytes() == 600);
      }
      close_file(*rig.reactor, std::move(file));
    }
  }
}

}  // namespace diorite::test
