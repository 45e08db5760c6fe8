// Lists of operations, good and bad, and what drivers answer to them.
//
// The same list runs on several drivers, one operation at a time, each over a directory of its own;
// the answers must be the same: results, lengths, bytes, names, sizes.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <diorite/driver/driver.hpp>

namespace diorite::test {

inline constexpr std::size_t kHandles = 6;

struct ListedOp {
  OpCode code = OpCode::nop;
  std::size_t handle = 0;  ///< which of kHandles
  std::string path;        ///< below the list's directory; see has_root
  std::string path2;
  bool has_root = true;  ///< false: `path` as it stands
  std::uint32_t open_flags = 0;
  std::uint8_t flags = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint32_t bytes = 0;
  std::uint32_t shift = 0;  ///< of the buffer's address
  std::uint64_t fill = 0;   ///< of a write: which bytes
};

/// What the place can do where the list shall run.
struct ListPlace {
  bool direct = true;          ///< the file system takes O_DIRECT
  std::uint32_t align = 512;   ///< that it demands of offsets
  std::uint32_t memory = 512;  ///< and of addresses
};

struct ListedResult {
  bool skipped = false;  ///< its handle was not open
  std::int32_t result = 0;
  std::uint64_t hash = 0;   ///< of the bytes read
  std::uint64_t bytes = 0;  ///< info: the size
  std::string text;         ///< a listing, sorted; info: the kind
  friend bool operator==(const ListedResult&, const ListedResult&) = default;
};

std::vector<ListedOp> make_list(std::uint64_t seed, const ListPlace& place);
/// `root`: an existing empty directory, without a slash at the end. Closes what is left open.
std::vector<ListedResult> run_list(Driver& driver, const std::string& root,
                                   const std::vector<ListedOp>& list);
std::string describe(const ListedOp& op);
std::string describe(const ListedResult& result);

}  // namespace diorite::test
