// The ladder: what the kernel may refuse, what is left then, and what the operator is told.

#include "driver/uring_rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

constexpr unsigned kSubmitAll = 1U << 7;
constexpr unsigned kSingleIssuer = 1U << 12;
constexpr unsigned kDeferTaskrun = 1U << 13;

DriverOptions forbidding() {
  DriverOptions options;
  options.forbid_fallback = true;
  return options;
}

}  // namespace

TEST_CASE("the first rung is taken where the kernel has everything", "[driver][uring]") {
  if (!ring_here()) return;
  const int before = open_descriptors();
  {
    FakeKernel kernel;
    Made made;
    REQUIRE(made.driver);
    const DriverCaps& caps = made.driver->caps();
    CHECK(caps.kind == DriverKind::uring);
    CHECK(caps.name == "io_uring");
    CHECK(caps.reason == made.reasons);
    CHECK(caps.in_flight_max == 1024);
    CHECK(caps.threads == 4);
    if (kernel.setups == 1) {
      CHECK(made.says("io_uring 256/2048 SINGLE_ISSUER DEFER_TASKRUN SUBMIT_ALL: made"));
    }
    CHECK(kernel.ring->cq.ring_entries >= 2 * kernel.ring->sq.ring_entries);
    check_that_it_works(*made.driver);
    CHECK_FALSE(kernel.overflowed());
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("the ring's size follows in_flight_max", "[driver][uring]") {
  if (!ring_here()) return;
  struct Size {
    std::uint32_t in_flight_max;
    const char* rung;
  };
  for (const Size& size : {Size{1, "io_uring 8/16 "}, Size{8, "io_uring 8/16 "},
                           Size{9, "io_uring 16/32 "}, Size{32768, "io_uring 256/65536 "}}) {
    DriverOptions options;
    options.in_flight_max = size.in_flight_max;
    FakeKernel kernel;
    Made made(options);
    REQUIRE(made.driver);
    CHECK(made.driver->caps().in_flight_max == size.in_flight_max);
    CHECK(made.says(size.rung));
  }
}

TEST_CASE("optional flags are given up one at a time", "[driver][uring]") {
  if (!ring_here()) return;
  struct Rung {
    unsigned unknown;
    unsigned setups;
    const char* made;
  };
  const Rung rung =
      GENERATE(Rung{kDeferTaskrun, 2, "io_uring 256/2048 SINGLE_ISSUER SUBMIT_ALL: made"},
               Rung{kDeferTaskrun | kSingleIssuer, 3, "io_uring 256/2048 SUBMIT_ALL: made"},
               Rung{kDeferTaskrun | kSingleIssuer | kSubmitAll, 4, "io_uring 256/2048: made"});
  FakeKernel kernel;
  kernel.on_setup = [&](unsigned, const io_uring_params& params) {
    return (params.flags & rung.unknown) != 0 ? -EINVAL : 0;
  };
  Made made;
  REQUIRE(made.driver);
  CHECK(kernel.setups == rung.setups);
  CHECK(made.says("io_uring 256/2048 SINGLE_ISSUER DEFER_TASKRUN SUBMIT_ALL: EINVAL; "));
  CHECK(made.says(rung.made));
  CHECK((kernel.ring->flags & rung.unknown) == 0);
  check_that_it_works(*made.driver);
}

TEST_CASE("a kernel that knows no form of ring is told apart", "[driver][uring]") {
  FakeKernel kernel;
  kernel.on_setup = [](unsigned, const io_uring_params&) { return -EINVAL; };
  Made made;
  CHECK_FALSE(made.driver);
  CHECK(made.error == Errc::unsupported);
  CHECK(kernel.setups == 4);
  CHECK(made.says("io_uring 256/2048: EINVAL, "));
  CHECK(made.says("Linux 5.11 is needed"));
}

TEST_CASE("a ring for which there is no memory is made smaller", "[driver][uring]") {
  if (!ring_here()) return;
  const unsigned fits = GENERATE(128U, 64U, 8U);
  FakeKernel kernel;
  kernel.on_setup = [&](unsigned entries, const io_uring_params&) {
    return entries > fits ? -ENOMEM : 0;
  };
  Made made;
  REQUIRE(made.driver);
  CHECK(made.says("io_uring 256/2048 SINGLE_ISSUER DEFER_TASKRUN SUBMIT_ALL: ENOMEM; "));
  CHECK(kernel.ring->sq.ring_entries == fits);
  CHECK(made.driver->caps().in_flight_max ==
        std::min(1024U, kernel.ring->cq.ring_entries - detail::Uring::kReserve));
  check_that_it_works(*made.driver);
  CHECK_FALSE(kernel.overflowed());
}

TEST_CASE("the smallest ring still works", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  kernel.on_setup = [](unsigned, const io_uring_params& params) {
    return params.cq_entries > 16 ? -ENOMEM : 0;
  };
  Made made;
  REQUIRE(made.driver);
  CHECK(made.driver->caps().in_flight_max == 8);
  check_that_it_works(*made.driver);
  CHECK_FALSE(kernel.overflowed());
}

TEST_CASE("when not even the smallest ring fits, the limit is named", "[driver][uring]") {
  FakeKernel kernel;
  kernel.on_setup = [](unsigned, const io_uring_params&) { return -ENOMEM; };
  Made made;
  CHECK_FALSE(made.driver);
  CHECK(made.says("io_uring 8/16 "));
  CHECK(made.says("ulimit -l"));
}

TEST_CASE("a refusal says what to change", "[driver][uring]") {
  struct Refusal {
    int error;
    int sysctl;
    const char* text;
  };
  const Refusal refusal =
      GENERATE(Refusal{EPERM, 2, "kernel.io_uring_disabled is 2: set it to 0"},
               Refusal{EPERM, 1, "kernel.io_uring_disabled is 1: set it to 0, or add the user"},
               Refusal{EPERM, 0, "EPERM, a seccomp filter or a security module refuses it"},
               Refusal{EPERM, -1, "EPERM, a seccomp filter or a security module refuses it"},
               Refusal{EACCES, 0, "EACCES, a seccomp filter or a security module refuses it"},
               Refusal{ENOSYS, -1, "ENOSYS, the kernel is built without io_uring"},
               Refusal{EMFILE, 0, "EMFILE, the process has no descriptor left"},
               Refusal{ENFILE, 0, "fs.file-max"}, Refusal{EIO, 0, "errno 5, "});
  FakeKernel kernel;
  kernel.sysctl = refusal.sysctl;
  kernel.on_setup = [&](unsigned, const io_uring_params&) { return -refusal.error; };
  Made made;
  CHECK_FALSE(made.driver);
  CHECK(made.error == Errc::unsupported);
  CHECK(kernel.setups == 1);
  INFO(made.reasons);
  CHECK(made.says(refusal.text));
}

TEST_CASE("a ring without a needed feature is given back", "[driver][uring]") {
  if (!ring_here()) return;
  struct Feature {
    unsigned bit;
    const char* text;
  };
  const Feature feature = GENERATE(Feature{IORING_FEAT_SUBMIT_STABLE, "lacks SUBMIT_STABLE"},
                                   Feature{IORING_FEAT_NODROP, "lacks NODROP"},
                                   Feature{IORING_FEAT_EXT_ARG, "lacks EXT_ARG"});
  const int before = open_descriptors();
  FakeKernel kernel;
  kernel.features_hidden = feature.bit;
  Made made;
  CHECK_FALSE(made.driver);
  CHECK(made.says(feature.text));
  CHECK(open_descriptors() == before);
}

TEST_CASE("a ring that cannot be entered or probed is given back", "[driver][uring]") {
  if (!ring_here()) return;
  const int before = open_descriptors();
  FakeKernel kernel;
  SECTION("enter") {
    kernel.before_enter = [](unsigned) { return -EPERM; };
    Made made;
    CHECK_FALSE(made.driver);
    CHECK(made.says("a no-op was refused: EPERM, a seccomp filter"));
  }
  SECTION("interrupted enters are tried again") {
    int interruptions = 3;
    kernel.before_enter = [&](unsigned) { return interruptions-- > 0 ? -EINTR : 0; };
    Made made;
    CHECK(made.driver);
    CHECK(interruptions < 0);
  }
  SECTION("a no-op that comes back wrong") {
    kernel.after_enter = [&] { kernel.each_completion([](io_uring_cqe& cqe) { cqe.res = -EIO; }); };
    Made made;
    CHECK_FALSE(made.driver);
    CHECK(made.says("a no-op did not come back as it should"));
  }
  SECTION("probe") {
    kernel.probe_result = -EPERM;
    Made made;
    CHECK_FALSE(made.driver);
    CHECK(made.says("the opcode probe was refused: EPERM"));
  }
  SECTION("an opcode that the driver itself needs") {
    kernel.ops_hidden = {IORING_OP_ASYNC_CANCEL};
    Made made;
    CHECK_FALSE(made.driver);
    CHECK(made.says("the ring lacks ASYNC_CANCEL"));
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("an opcode that is missing goes to the workers", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  SECTION("one") {
    kernel.ops_hidden = {detail::kUringOpFtruncate};
    Made made;
    REQUIRE(made.driver);
    CHECK(made.says("the ring lacks FTRUNCATE: done by worker threads"));
    check_that_it_works(*made.driver);
    CHECK(made.driver->counters().pool_ops == 1);
  }
  SECTION("all") {
    kernel.ops_hidden = {IORING_OP_READ,           IORING_OP_WRITE,    IORING_OP_FSYNC,
                         IORING_OP_OPENAT,         IORING_OP_CLOSE,    IORING_OP_FALLOCATE,
                         IORING_OP_MKDIRAT,        IORING_OP_RENAMEAT, IORING_OP_UNLINKAT,
                         detail::kUringOpFtruncate};
    Made made;
    REQUIRE(made.driver);
    CHECK(
        made.says("the ring lacks READ WRITE FSYNC FALLOCATE FTRUNCATE CLOSE OPENAT MKDIRAT "
                  "RENAMEAT UNLINKAT: done by worker threads"));
    check_that_it_works(*made.driver);
    CHECK(made.driver->counters().pool_ops >= 6);
  }
  SECTION("unless that is forbidden") {
    kernel.ops_hidden = {IORING_OP_MKDIRAT};
    Made made(forbidding());
    CHECK_FALSE(made.driver);
    CHECK(made.error == Errc::unsupported);
    CHECK(made.says("the ring lacks MKDIRAT, and the options forbid a fallback"));
  }
}

TEST_CASE("registrations are optional", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  SECTION("the ring's own descriptor") {
    kernel.register_ring_result = -EINVAL;
    Made made;
    REQUIRE(made.driver);
    CHECK(made.says("ring descriptor not registered: EINVAL"));
    check_that_it_works(*made.driver);
  }
  SECTION("a sparse table is unknown") {
    kernel.sparse_result = -EINVAL;
    Made made;
    REQUIRE(made.driver);
    CHECK(kernel.tables_of_minus_one);
    CHECK(made.driver->caps().files != nullptr);
    check_that_it_works(*made.driver);
  }
  SECTION("no table") {
    kernel.sparse_result = -EINVAL;
    kernel.files_result = -EMFILE;
    Made made;
    REQUIRE(made.driver);
    CHECK(made.says("no file table: EMFILE"));
    CHECK(made.driver->caps().files == nullptr);
    check_that_it_works(*made.driver);
  }
}

TEST_CASE("what was told before stays in the reasons", "[driver][uring]") {
  FakeKernel kernel;
  kernel.on_setup = [](unsigned, const io_uring_params&) { return -ENOSYS; };
  std::string reasons = "first";
  CHECK_FALSE(detail::make_uring_driver({}, reasons, FakeKernel::calls()));
  CHECK(reasons.rfind("first; io_uring 256/2048", 0) == 0);
}
