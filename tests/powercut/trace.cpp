#include "powercut/trace.hpp"

#include <sys/mman.h>

#include <cstring>

#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

struct RawEvent {
  std::uint32_t kind;
  std::uint32_t id;
  std::uint64_t offset;
  std::uint32_t bytes;
  std::uint32_t stored;  // 0 for zeros
};
static_assert(sizeof(RawEvent) == 24);

std::size_t padded(std::size_t bytes) noexcept { return (bytes + 7) & ~std::size_t{7}; }

}  // namespace

// The reader starts when the writer's process has been waited for, so nothing here is atomic.
struct Trace::Header {
  std::uint64_t used;
  std::uint64_t overflowed;
  std::byte* first() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
};

bool all_zero(const std::byte* data, std::size_t bytes) noexcept {
  return bytes == 0 || (data[0] == std::byte{0} && std::memcmp(data, data + 1, bytes - 1) == 0);
}

Trace::Trace(std::size_t bytes) : capacity_(bytes) {
  void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw_errno("mmap of the trace");
  header_ = static_cast<Header*>(at);
}

Trace::~Trace() { ::munmap(header_, capacity_); }

bool Trace::append(EventKind kind, std::uint32_t id, std::uint64_t offset, const std::byte* data,
                   std::uint32_t bytes) noexcept {
  const bool zeros = kind == EventKind::write && all_zero(data, bytes);
  const std::uint32_t stored = zeros || data == nullptr ? 0 : bytes;
  const std::size_t needed = sizeof(RawEvent) + padded(stored);
  if (header_->overflowed != 0 || sizeof(Header) + header_->used + needed > capacity_) {
    header_->overflowed = 1;
    return false;
  }
  std::byte* const at = header_->first() + header_->used;
  const RawEvent raw{static_cast<std::uint32_t>(kind), id, offset, bytes, stored};
  std::memcpy(at, &raw, sizeof raw);
  if (stored > 0) std::memcpy(at + sizeof raw, data, stored);
  header_->used += needed;
  return true;
}

std::vector<Event> Trace::events() const {
  std::vector<Event> all;
  const std::byte* at = header_->first();
  const std::byte* const end = at + header_->used;
  while (at < end) {
    RawEvent raw;
    std::memcpy(&raw, at, sizeof raw);
    at += sizeof raw;
    Event event;
    event.kind = static_cast<EventKind>(raw.kind);
    event.id = raw.id;
    event.offset = raw.offset;
    event.bytes = raw.bytes;
    event.data = raw.stored > 0 ? at : nullptr;
    all.push_back(event);
    at += padded(raw.stored);
  }
  return all;
}

bool Trace::incomplete() const noexcept { return header_->overflowed != 0; }

void Trace::keep_from_children() noexcept { ::madvise(header_, capacity_, MADV_DONTFORK); }

}  // namespace diorite::powercut
