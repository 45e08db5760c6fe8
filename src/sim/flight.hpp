// Process and Flight: who runs on a simulated machine, and what it has in flight.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <diorite/driver/op.hpp>
#include <diorite/intrusive_list.hpp>
#include <diorite/time.hpp>

#include "sim/files.hpp"
#include "sim/volume.hpp"

namespace diorite::sim::detail {

/// What a read's memory holds while the read is in flight.
inline constexpr unsigned char kScribble = 0xDB;

/// One operation, from submit to its report. A copy of everything that the Op says: the Op's frame
/// may die, and the process with it, while the operation goes on.
struct Flight : ListNode {
  Process* process = nullptr;
  std::uint64_t tag = 0;     ///< names the driver's slot
  std::uint64_t serial = 0;  ///< of the machine; tells this use of the object from later ones
  OpCode code = OpCode::nop;
  std::uint8_t flags = 0;
  bool captured = false;   ///< a write whose bytes were taken
  bool cancelled = false;  ///< ends with ECANCELED
  bool zombie = false;     ///< its process is gone
  bool ended = false;      ///< waits to be reported
  std::int32_t result = 0;
  std::uint32_t bytes = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::byte* data = nullptr;
  CallOp::Function function = nullptr;
  void* context = nullptr;
  OpenFile* file = nullptr;  ///< referred to while in flight
  NodeId node = kNoNode;     ///< sync_dir: held
  WriteId write = 0;         ///< 0 = none
  SyncMark mark;
  std::uint32_t open_flags = 0;
  std::uint32_t mode = 0;
  std::string path;
  std::string path2;
  Instant begun{};
  Instant due{};

  DriverFile opened;
  FileInfo info;
  std::unique_ptr<std::vector<DirEntry>> entries;
};
using FlightList = IntrusiveList<Flight>;

struct Process {
  std::uint32_t number = 0;
  bool dead = false;
  bool attached = true;  ///< its driver still exists
  std::uint32_t in_flight = 0;
  std::uint32_t zombies = 0;
  std::uint32_t registered = 0;
  std::uint32_t idle_polls = 0;  ///< in a row, that waited for nothing or found nothing
  FlightList done;               ///< to be reported, in the order in which they ended
};

}  // namespace diorite::sim::detail
