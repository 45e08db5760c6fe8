// What ends on the ring is heard of, whatever else keeps the driver busy.

#include "driver/uring_rig.hpp"

namespace diorite::test {
namespace {

/// A job that a worker does at once.
CallOp no_work() {
  CallOp op;
  op.code = OpCode::call;
  op.function = [](void*) noexcept {};
  return op;
}

}  // namespace

TEST_CASE("workers that finish something in every round do not keep the ring from its turn",
          "[driver][uring]") {
  if (!ring_here()) return;
  constexpr int kRounds = 100;
  DriverOptions options;
  options.pool_inline = true;
  FakeKernel kernel;
  Made made(options);
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  const TempDir dir;
  Blocker blocker(dir, "fifo");
  OpList done;
  driver.submit(*blocker.op);
  driver.poll(done, kAtOnce);
  REQUIRE(done.empty());
  CallOp job = no_work();
  const auto do_job = [&] {
    driver.submit(job);
    driver.poll(done, kAtOnce);
    REQUIRE(done.pop_front() == &job);
    job.state = OpState::idle;
  };
  // Completions are posted where the ring is entered, and on some rings nowhere else.
  const std::uint64_t before = driver.counters().enters;
  for (int i = 0; i < kRounds; ++i) do_job();
  CHECK(driver.counters().enters - before >= kRounds);
  blocker.release();
  REQUIRE(ends(driver, *blocker.op));
  close_file(driver, blocker.op->file);
  // With nothing on the ring there is nothing to ask for.
  const std::uint64_t alone = driver.counters().enters;
  for (int i = 0; i < kRounds; ++i) do_job();
  CHECK(driver.counters().enters == alone);
}

}  // namespace diorite::test
