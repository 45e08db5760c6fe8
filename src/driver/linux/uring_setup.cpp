#include "driver/linux/uring_setup.hpp"

#include <errno.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace diorite::detail {
namespace {

constexpr std::uint32_t kSqMin = 8;
constexpr std::uint32_t kSqMax = 256;
constexpr std::uint32_t kCqMin = 16;
static_assert(kCqMin > Uring::kReserve);

/// From the most to the least. DEFER_TASKRUN needs SINGLE_ISSUER, so it goes first.
constexpr unsigned kRungs[] = {
    Uring::kSubmitAll | Uring::kSingleIssuer | Uring::kDeferTaskrun,
    Uring::kSubmitAll | Uring::kSingleIssuer,
    Uring::kSubmitAll,
    0,
};
/// A thread of the kernel excludes DEFER_TASKRUN: the work would be deferred to whom?
constexpr unsigned kSqPollRungs[] = {
    IORING_SETUP_SQPOLL | Uring::kSubmitAll | Uring::kSingleIssuer,
    IORING_SETUP_SQPOLL | Uring::kSubmitAll,
    IORING_SETUP_SQPOLL,
};

struct Flag {
  unsigned bit;
  const char* name;
};
constexpr Flag kOptionalFlags[] = {
    {IORING_SETUP_SQPOLL, "SQPOLL"},         {IORING_SETUP_SQ_AFF, "SQ_AFF"},
    {IORING_SETUP_IOPOLL, "IOPOLL"},         {Uring::kSingleIssuer, "SINGLE_ISSUER"},
    {Uring::kDeferTaskrun, "DEFER_TASKRUN"}, {Uring::kTaskrunFlag, "TASKRUN_FLAG"},
    {Uring::kSubmitAll, "SUBMIT_ALL"}};
/// Without these an operation's arguments could not be freed after the submission, completions
/// could be lost, a wait could have no limit, or the kernel's thread would know registered files
/// only. All are there since Linux 5.11.
constexpr Flag kRequiredFeatures[] = {{IORING_FEAT_SUBMIT_STABLE, "SUBMIT_STABLE"},
                                      {IORING_FEAT_NODROP, "NODROP"},
                                      {IORING_FEAT_EXT_ARG, "EXT_ARG"},
                                      {IORING_FEAT_SQPOLL_NONFIXED, "SQPOLL_NONFIXED"}};

struct RingOp {
  OpCode code;
  int op;
  const char* name;
};
constexpr RingOp kRingOps[] = {
    {OpCode::nop, IORING_OP_NOP, "NOP"},
    {OpCode::read, IORING_OP_READ, "READ"},
    {OpCode::write, IORING_OP_WRITE, "WRITE"},
    {OpCode::sync_data, IORING_OP_FSYNC, "FSYNC"},
    {OpCode::sync_all, IORING_OP_FSYNC, "FSYNC"},
    {OpCode::allocate, IORING_OP_FALLOCATE, "FALLOCATE"},
    {OpCode::truncate, kUringOpFtruncate, "FTRUNCATE"},
    {OpCode::close, IORING_OP_CLOSE, "CLOSE"},
    {OpCode::drop_cache, IORING_OP_FADVISE, "FADVISE"},
    {OpCode::open, IORING_OP_OPENAT, "OPENAT"},
    {OpCode::make_dir, IORING_OP_MKDIRAT, "MKDIRAT"},
    {OpCode::rename, IORING_OP_RENAMEAT, "RENAMEAT"},
    {OpCode::remove, IORING_OP_UNLINKAT, "UNLINKAT"},
};
/// What the driver itself lives on.
constexpr RingOp kDriverOps[] = {{OpCode::nop, IORING_OP_NOP, "NOP"},
                                 {OpCode::nop, IORING_OP_POLL_ADD, "POLL_ADD"},
                                 {OpCode::nop, IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"}};

/// What a ring is to be, and what it became.
struct Shape {
  std::uint32_t sq = 0;
  std::uint32_t cq = 0;
  unsigned flags = 0;
};

std::string name_of(const Shape& shape) {
  std::string name = "io_uring " + std::to_string(shape.sq) + "/" + std::to_string(shape.cq);
  for (const Flag& flag : kOptionalFlags) {
    if ((shape.flags & flag.bit) != 0) name.append(" ").append(flag.name);
  }
  return name;
}

class Ladder {
 public:
  Ladder(const DriverOptions& options, std::string& reasons, const UringCalls& calls)
      : options_(options), uring_(options.uring), reasons_(reasons), calls_(calls) {}

  bool make_main();
  bool make_polled();
  UringRings take() { return std::move(rings_); }

 private:
  void tell(std::string_view text) { uring_tell(reasons_, text); }
  bool give_up(Fallback what, std::string_view text);
  int try_shape(Uring& ring, Shape& shape);
  bool climb_with_thread(Uring& ring, Shape& shape);
  bool climb(Uring& ring, Shape& shape);
  bool register_descriptor(Uring& ring, const char* which);
  bool check_size(const Shape& shape);
  bool prove(Uring& ring);
  bool choose_routes();
  void register_files();
  bool refuse_polled(const std::string& why);

  const DriverOptions& options_;
  const UringOptions& uring_;
  std::string& reasons_;
  const UringCalls& calls_;
  unsigned features_ = 0;
  UringRings rings_;
};

/// False when the options forbid it.
bool Ladder::give_up(Fallback what, std::string_view text) {
  tell(text);
  if (options_.forbid_fallback) {
    reasons_ += ", and the options forbid a fallback";
    return false;
  }
  ++rings_.fallbacks[static_cast<std::size_t>(what)];
  return true;
}

int Ladder::try_shape(Uring& ring, Shape& shape) {
  io_uring_params params{};
  params.flags = shape.flags | IORING_SETUP_CQSIZE;
  params.cq_entries = shape.cq;
  if ((shape.flags & IORING_SETUP_SQPOLL) != 0) params.sq_thread_idle = uring_.sq_poll_idle_ms;
  if ((shape.flags & IORING_SETUP_SQ_AFF) != 0) {
    params.sq_thread_cpu = static_cast<std::uint32_t>(uring_.sq_poll_cpu);
  }
  const std::string name = name_of(shape);
  const int result = ring.make(shape.sq, params);
  if (result != 0) {
    tell(name + ": " + uring_error_name(result));
    return result;
  }
  tell(name + ": made");
  shape.sq = params.sq_entries;
  shape.cq = params.cq_entries;
  features_ = params.features;
  return 0;
}

/// Leaves `ring` unmade when there is to be no thread. False when the options forbid that.
bool Ladder::climb_with_thread(Uring& ring, Shape& shape) {
  const bool bound = uring_.sq_poll_cpu >= 0;
  for (const unsigned affinity : {bound ? IORING_SETUP_SQ_AFF : 0U, 0U}) {
    for (const unsigned rung : kSqPollRungs) {
      Shape wanted{shape.sq, shape.cq, rung | affinity};
      const int result = try_shape(ring, wanted);
      if (result == 0) {
        shape = wanted;
        if (!bound || affinity != 0) return true;
        return give_up(Fallback::sq_poll_cpu, "the kernel's thread runs on any processor");
      }
      // A thread that cannot be started says so in many ways; only this one is about the flags.
      if (result != -EINVAL) return give_up(Fallback::sq_poll, "no thread of the kernel submits");
    }
    if (!bound) break;
  }
  return give_up(Fallback::sq_poll, "no thread of the kernel submits");
}

bool Ladder::climb(Uring& ring, Shape& shape) {
  const unsigned asked = shape.flags;
  std::size_t rung = 0;
  for (;;) {
    shape.flags = asked | kRungs[rung];
    // Who waits for another ring as well must see when this one has something to post.
    const bool tells = uring_.poll_transfers && (kRungs[rung] & Uring::kDeferTaskrun) != 0;
    if (tells && (asked & IORING_SETUP_IOPOLL) == 0) shape.flags |= Uring::kTaskrunFlag;
    const int result = try_shape(ring, shape);
    if (result == 0) return true;
    if (result == -EINVAL && rung + 1 < std::size(kRungs)) {
      ++rung;
    } else if (result == -ENOMEM && (shape.sq > kSqMin || shape.cq > kCqMin)) {
      if (shape.sq > kSqMin) shape.sq = std::max(shape.sq / 2, kSqMin);
      shape.cq = std::max({shape.cq / 2, kCqMin, shape.sq});
    } else {
      reasons_ += ", " + uring_remedy(result, calls_);
      return false;
    }
  }
}

bool Ladder::make_main() {
  const std::uint32_t chosen = std::clamp(std::bit_ceil(options_.in_flight_max), kSqMin, kSqMax);
  Shape shape;
  shape.sq = uring_.sq_entries == 0 ? chosen : std::bit_ceil(uring_.sq_entries);
  shape.cq = std::max(std::bit_ceil(options_.in_flight_max + Uring::kReserve), 2 * shape.sq);
  rings_.main = std::make_unique<Uring>(calls_);
  Uring& ring = *rings_.main;
  if (uring_.sq_poll && !climb_with_thread(ring, shape)) return false;
  if (!ring.is_made() && !climb(ring, shape)) return false;
  for (const Flag& feature : kRequiredFeatures) {
    if ((features_ & feature.bit) != 0) continue;
    tell(std::string("the kernel lacks ") + feature.name + ", Linux 5.11 is needed");
    return false;
  }
  rings_.in_flight_max = std::min(options_.in_flight_max, shape.cq - Uring::kReserve);
  if (!check_size(shape) || !register_descriptor(ring, "ring descriptor")) return false;
  if (!prove(ring) || !choose_routes()) return false;
  register_files();
  return true;
}

bool Ladder::check_size(const Shape& shape) {
  if (shape.sq >= uring_.sq_entries && rings_.in_flight_max == options_.in_flight_max) return true;
  return give_up(Fallback::smaller_ring,
                 std::to_string(rings_.in_flight_max) + " operations in flight and " +
                     std::to_string(shape.sq) + " entries are what memory was there for");
}

bool Ladder::register_descriptor(Uring& ring, const char* which) {
  if (!uring_.register_descriptor) {
    tell(std::string(which) + " not registered, as requested");
    return true;
  }
  // Spares the look-up of the descriptor, with its atomic count, in every enter.
  const int result = ring.register_descriptor();
  if (result == 0) {
    tell(std::string(which) + " registered");
    return true;
  }
  return give_up(Fallback::ring_descriptor,
                 std::string(which) + " not registered: " + uring_error_name(result));
}

bool Ladder::prove(Uring& ring) {
  bool came_back = false;
  const int result = ring.prove(came_back);
  if (!came_back && result < 0) {
    tell("a no-op was refused: " + uring_refusal_text(result, calls_));
    return false;
  }
  if (came_back && result == 0) return true;
  tell("a no-op did not come back as it should");
  return false;
}

bool Ladder::choose_routes() {
  constexpr unsigned kOps = 256;
  alignas(io_uring_probe)
      std::byte memory[sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op)] = {};
  auto* probe = reinterpret_cast<io_uring_probe*>(memory);
  const int result = rings_.main->probe(*probe, kOps);
  if (result < 0) {
    tell("the opcode probe was refused: " + uring_refusal_text(result, calls_));
    return false;
  }
  for (const RingOp& op : kDriverOps) {
    if (io_uring_opcode_supported(probe, op.op) != 0) continue;
    tell(std::string("the ring lacks ") + op.name + ", which the driver needs");
    return false;
  }
  rings_.routes.fill(OpRoute::worker);
  std::string missing;
  for (const RingOp& op : kRingOps) {
    if (io_uring_opcode_supported(probe, op.op) != 0) {
      rings_.routes[static_cast<std::size_t>(op.code)] = OpRoute::ring;
    } else if (missing.find(op.name) == std::string::npos) {
      missing.append(missing.empty() ? "" : " ").append(op.name);
    }
  }
  if (rings_.main->has_thread()) {
    // A closed file's last reference, and its lock, are dropped when whoever closed it leaves the
    // kernel. The kernel's thread tells of the close first, and leaves when it likes.
    rings_.routes[static_cast<std::size_t>(OpCode::close)] = OpRoute::worker;
    tell("files are closed by worker threads");
  }
  if (missing.empty()) return true;
  tell("the ring lacks " + missing +
       (options_.forbid_fallback ? ", and the options forbid a fallback"
                                 : ": done by worker threads"));
  return !options_.forbid_fallback;
}

void Ladder::register_files() {
  const int result = rings_.main->register_files();
  tell(result < 0 ? "no file table: " + uring_error_name(result)
                  : std::to_string(Uring::kFilesMax) + " file places");
}

bool Ladder::refuse_polled(const std::string& why) {
  rings_.polled.reset();
  return give_up(Fallback::polled_ring, "no polled ring: " + why);
}

bool Ladder::make_polled() {
  for (const OpCode code : {OpCode::read, OpCode::write}) {
    if (rings_.routes[static_cast<std::size_t>(code)] != OpRoute::ring) {
      return refuse_polled("the ring has no reads or no writes");
    }
  }
  Shape shape;
  const std::uint32_t chosen = std::clamp(std::bit_ceil(rings_.in_flight_max), kSqMin, kSqMax);
  shape.sq = uring_.sq_entries == 0 ? chosen : std::bit_ceil(uring_.sq_entries);
  shape.cq = std::max(std::bit_ceil(rings_.in_flight_max), 2 * shape.sq);
  shape.flags = IORING_SETUP_IOPOLL;
  rings_.polled = std::make_unique<Uring>(calls_);
  Uring& ring = *rings_.polled;
  if (!climb(ring, shape)) return refuse_polled("the kernel gives none");
  // It has a completion for every operation in flight, or else it could overflow.
  if (shape.cq < rings_.in_flight_max) return refuse_polled("no memory for its completions");
  bool came_back = false;
  const int result = ring.prove(came_back);
  // Kernels before 6.0 refuse a no-op on such a ring, and tell so by a completion, which is proof
  // enough.
  if (!came_back || (result != 0 && result != -EINVAL)) {
    return refuse_polled("a no-op did not come back as it should");
  }
  tell("reads and writes of files opened for direct I/O are polled");
  return register_descriptor(ring, "polled ring's descriptor");
}

}  // namespace

Result<UringRings> make_uring_rings(const DriverOptions& options, std::string& reasons,
                                    const UringCalls& calls) {
  Ladder ladder(options, reasons, calls);
  if (!ladder.make_main()) return Errc::unsupported;
  if (options.uring.poll_transfers && !ladder.make_polled()) return Errc::unsupported;
  return ladder.take();
}

}  // namespace diorite::detail
