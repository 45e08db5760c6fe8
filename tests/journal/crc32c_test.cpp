#include "journal/crc32c.hpp"

#include "support/catch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace diorite::wal;

namespace {

// One bit at a time, straight from the polynomial.
std::uint32_t bitwise(std::uint32_t state, const unsigned char* data, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    state ^= data[i];
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) != 0 ? 0x82F63B78U : 0);
  }
  return state;
}

std::vector<unsigned char> random_bytes(std::size_t size) {
  std::mt19937_64 rng(20240607);
  std::vector<unsigned char> bytes(size);
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(rng());
  return bytes;
}

std::uint32_t plain(const Crc32cKernel& kernel, const std::vector<unsigned char>& bytes) {
  return ~kernel.extend(~0U, bytes.data(), bytes.size());
}

}  // namespace

TEST_CASE("crc32c: every implementation gives the published checksums", "[crc32c]") {
  for (const Crc32cKernel* kernel : crc32c_kernels()) {
    INFO(kernel->name);
    CHECK(plain(*kernel, {}) == 0);
    CHECK(plain(*kernel, {'1', '2', '3', '4', '5', '6', '7', '8', '9'}) == 0xE3069283);
    // RFC 3720, B.4.
    CHECK(plain(*kernel, std::vector<unsigned char>(32, 0)) == 0x8A9136AA);
    CHECK(plain(*kernel, std::vector<unsigned char>(32, 0xFF)) == 0x62A8AB43);
    std::vector<unsigned char> up(32);
    std::vector<unsigned char> down(32);
    for (std::size_t i = 0; i < 32; ++i) {
      up[i] = static_cast<unsigned char>(i);
      down[i] = static_cast<unsigned char>(31 - i);
    }
    CHECK(plain(*kernel, up) == 0x46DD794E);
    CHECK(plain(*kernel, down) == 0x113FDB5C);
    const std::vector<unsigned char> iscsi_read = {
        0x01, 0xC0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    REQUIRE(iscsi_read.size() == 48);
    CHECK(plain(*kernel, iscsi_read) == 0xD9963A56);
  }
}

TEST_CASE("crc32c: implementations agree at every length and alignment", "[crc32c]") {
  const std::vector<unsigned char> data = random_bytes(32768);
  std::mt19937_64 rng(7);
  const auto check = [&](std::size_t at, std::size_t size, std::uint32_t state) {
    const std::uint32_t expected = bitwise(state, data.data() + at, size);
    for (const Crc32cKernel* kernel : crc32c_kernels()) {
      INFO(kernel->name << " at " << at << " size " << size);
      REQUIRE(kernel->extend(state, data.data() + at, size) == expected);
      // Guards on both sides show a store that strays.
      std::vector<unsigned char> copy(size + 16, 0xA5);
      REQUIRE(kernel->copy(state, copy.data() + 8, data.data() + at, size) == expected);
      REQUIRE((size == 0 || std::memcmp(copy.data() + 8, data.data() + at, size) == 0));
      for (std::size_t i = 0; i < 8; ++i) {
        REQUIRE(copy[i] == 0xA5);
        REQUIRE(copy[8 + size + i] == 0xA5);
      }
    }
  };
  for (std::size_t size = 0; size <= 600; ++size)
    check(size % 9, size, static_cast<std::uint32_t>(rng()));
  // Around one and several whole rounds of three lanes of 2048 bytes.
  for (const std::size_t size :
       {6143U, 6144U, 6145U, 6143U + 160, 6144U + 160, 12288U, 12448U, 20000U}) {
    check(size % 7, size, static_cast<std::uint32_t>(rng()));
  }
  for (int round = 0; round < 200; ++round) {
    const std::size_t size = rng() % 9000;
    check(rng() % 64, size, static_cast<std::uint32_t>(rng()));
  }
}

TEST_CASE("crc32c: a range may be split anywhere", "[crc32c]") {
  const std::vector<unsigned char> data = random_bytes(1024);
  for (const Crc32cKernel* kernel : crc32c_kernels()) {
    const std::uint32_t whole = kernel->extend(1, data.data(), data.size());
    for (std::size_t at = 0; at <= data.size(); ++at) {
      const std::uint32_t first = kernel->extend(1, data.data(), at);
      REQUIRE(kernel->extend(first, data.data() + at, data.size() - at) == whole);
    }
  }
}

TEST_CASE("crc32c: an empty range may have no address", "[crc32c]") {
  for (const Crc32cKernel* kernel : crc32c_kernels()) {
    CHECK(kernel->extend(0x12345678, nullptr, 0) == 0x12345678);
    CHECK(kernel->copy(0x12345678, nullptr, nullptr, 0) == 0x12345678);
  }
}

TEST_CASE("crc32c: a salt always changes the checksum of the same bytes", "[crc32c]") {
  const std::string text = "the bytes of an earlier use of the segment";
  CHECK(crc32c(0, text.data(), text.size()) == ~crc32c_extend(~0U, text.data(), text.size()));
  CHECK(crc32c(77, nullptr, 0) == 77);
  const std::uint32_t one = crc32c(1, text.data(), text.size());
  for (std::uint32_t salt = 2; salt < 5000; ++salt) {
    REQUIRE(crc32c(salt, text.data(), text.size()) != one);
  }
}

TEST_CASE("crc32c: the fastest implementation is in use, and a test can force another",
          "[crc32c]") {
  const auto kernels = crc32c_kernels();
  REQUIRE_FALSE(kernels.empty());
  CHECK(std::string_view(kernels.front()->name) == "portable");
  CHECK(&crc32c_kernel() == kernels.back());
  crc32c_force(kernels.front());
  CHECK(&crc32c_kernel() == kernels.front());
  crc32c_force(nullptr);
  CHECK(&crc32c_kernel() == kernels.back());
}
