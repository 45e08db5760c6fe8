#include "journal/crc32c.hpp"

#include <array>
#include <atomic>
#include <cstring>

#include "journal/byte_order.hpp"

namespace diorite::wal {
namespace {

using Table = std::array<std::uint32_t, 256>;

// tables[k][b] is the register after byte b and then k zero bytes, so eight bytes are folded with
// eight independent look-ups instead of a chain of eight.
constexpr std::array<Table, 8> make_tables() {
  std::array<Table, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = crc32c_detail::times_x(value);
    tables[0][byte] = value;
  }
  for (std::size_t k = 1; k < tables.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr std::array<Table, 8> kTables = make_tables();

std::uint32_t fold_eight(std::uint32_t state, std::uint64_t word) noexcept {
  word ^= state;
  return kTables[7][word & 0xFF] ^ kTables[6][(word >> 8) & 0xFF] ^
         kTables[5][(word >> 16) & 0xFF] ^ kTables[4][(word >> 24) & 0xFF] ^
         kTables[3][(word >> 32) & 0xFF] ^ kTables[2][(word >> 40) & 0xFF] ^
         kTables[1][(word >> 48) & 0xFF] ^ kTables[0][word >> 56];
}

std::uint32_t portable_extend(std::uint32_t state, const void* data, std::size_t size) noexcept {
  const auto* from = static_cast<const unsigned char*>(data);
  for (; size >= 8; size -= 8, from += 8) {
    state = fold_eight(state, load_le<std::uint64_t>(from));
  }
  for (; size != 0; --size, ++from) state = (state >> 8) ^ kTables[0][(state ^ *from) & 0xFF];
  return state;
}

std::uint32_t portable_copy(std::uint32_t state, void* to, const void* from,
                            std::size_t size) noexcept {
  // The table look-ups cost several times the copy, so a second pass over cached bytes is not felt.
  if (size != 0) std::memcpy(to, from, size);
  return portable_extend(state, to, size);
}

constexpr Crc32cKernel kPortable{"portable", portable_extend, portable_copy};

struct Available {
  std::array<const Crc32cKernel*, 4> kernels{};
  std::size_t count = 0;

  void add(const Crc32cKernel* kernel) noexcept {
    if (kernel != nullptr) kernels[count++] = kernel;
  }
};

Available detect() noexcept {
  Available available;
  available.add(&kPortable);
  available.add(crc32c_detail::arm_crc());
  available.add(crc32c_detail::x86_sse42());
  available.add(crc32c_detail::x86_pclmul());
  return available;
}

const Available& available() noexcept {
  static const Available kAvailable = detect();
  return kAvailable;
}

// Every kernel is a constant, so whoever sees the pointer may use what it points to, and the load
// needs no ordering.
std::atomic<const Crc32cKernel*> active{nullptr};

const Crc32cKernel& choose() noexcept {
  const Available& all = available();
  const Crc32cKernel* fastest = all.kernels[all.count - 1];
  active.store(fastest, std::memory_order_relaxed);
  return *fastest;
}

}  // namespace

const Crc32cKernel& crc32c_kernel() noexcept {
  const Crc32cKernel* kernel = active.load(std::memory_order_relaxed);
  if (kernel != nullptr) [[likely]] {
    return *kernel;
  }
  return choose();
}

std::span<const Crc32cKernel* const> crc32c_kernels() noexcept {
  const Available& all = available();
  return {all.kernels.data(), all.count};
}

void crc32c_force(const Crc32cKernel* kernel) noexcept {
  active.store(kernel, std::memory_order_relaxed);
}

}  // namespace diorite::wal
