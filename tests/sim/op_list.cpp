#include "sim/op_list.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>

#include <diorite/assert.hpp>
#include <diorite/buffer.hpp>

namespace diorite::test {
namespace {

constexpr std::uint32_t kBufferBytes = 64 << 10;
constexpr std::size_t kListLength = 48;

bool has_path(OpCode code) noexcept { return code >= OpCode::open; }

/// Draws one list.
class ListMaker {
 public:
  ListMaker(std::uint64_t seed, const ListPlace& place) : random_(seed), place_(place) {}

  ListedOp next() {
    // What is rare is slow on a real disk.
    static constexpr std::array<std::pair<OpCode, std::uint32_t>, 16> kWeights = {{
        {OpCode::open, 30},
        {OpCode::read, 30},
        {OpCode::write, 34},
        {OpCode::sync_data, 1},
        {OpCode::sync_all, 1},
        {OpCode::allocate, 8},
        {OpCode::truncate, 10},
        {OpCode::info, 14},
        {OpCode::close, 14},
        {OpCode::try_lock, 6},
        {OpCode::drop_cache, 3},
        {OpCode::make_dir, 10},
        {OpCode::list_dir, 10},
        {OpCode::rename, 14},
        {OpCode::remove, 12},
        {OpCode::sync_dir, 1},
    }};
    std::uint32_t total = 0;
    for (const auto& [code, weight] : kWeights) total += weight;
    std::uint32_t drawn = pick(total);
    for (const auto& [code, weight] : kWeights) {
      if (drawn < weight) return make(code);
      drawn -= weight;
    }
    return make(OpCode::nop);
  }

 private:
  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
  bool one_in(std::uint32_t n) { return pick(n) == 0; }

  std::string path() {
    static const std::array<std::string, 14> kUsual = {
        "a", "a", "b", "c", "d", "d/x", "d/x", "d/y", "e", "e/z", "d/e", "b", "c", "d/e/w"};
    static const std::array<std::string, 16> kOdd = {
        ".",   "",    "a/",   "d/",    "d/.",  "d/..", "d/../a", "./a",
        "//a", "a/x", "no/x", "d/./x", "d//x", "e/",   "new/",   "d/../d/x"};
    if (!one_in(6)) return kUsual[pick(kUsual.size())];
    if (one_in(12)) return std::string(255, 'n');
    if (one_in(12)) return std::string(256, 'n');
    if (one_in(12)) return std::string(5000, 'n');
    if (one_in(20)) return std::string("a\0b", 3);
    return kOdd[pick(kOdd.size())];
  }

  std::uint64_t offset() {
    if (one_in(40)) return std::uint64_t{1} << 63;
    if (one_in(40)) return ~std::uint64_t{0} - 4095;
    const std::uint64_t blocks = std::uint64_t{pick(40)} * 4096;
    if (one_in(6)) return blocks + pick(4096);
    if (one_in(4)) return blocks + std::uint64_t{pick(8)} * place_.align;
    return blocks;
  }

  std::uint32_t bytes() {
    if (one_in(20)) return 0;
    if (one_in(5)) return 1 + pick(kBufferBytes - 4096);
    if (one_in(4)) return place_.align * (1 + pick(8));
    return 4096 * (1 + pick(4));
  }

  ListedOp make(OpCode code) {
    ListedOp op;
    op.code = code;
    op.handle = pick(kHandles);
    op.path = has_path(code) ? path() : std::string();
    switch (code) {
      case OpCode::open:
        make_open(op);
        break;
      case OpCode::read:
      case OpCode::write:
        op.offset = offset();
        op.bytes = bytes();
        op.fill = random_();
        if (one_in(8)) op.shift = one_in(2) ? 1 + pick(511) : place_.memory;
        // Linux 6.18 takes a write from a misaligned address when it lies in one page.
        if (code == OpCode::write && op.shift != 0) op.bytes = std::max(op.bytes, 8192U);
        if (code == OpCode::write && one_in(40)) op.flags = kOpDsync;
        break;
      case OpCode::allocate:
        op.offset = offset();
        op.length = one_in(12) ? 0 : 1 + pick(200'000);
        if (one_in(2)) op.flags = kOpKeepSize;
        break;
      case OpCode::truncate:
        op.length = one_in(20) ? std::uint64_t{1} << 63 : offset();
        break;
      case OpCode::rename:
        op.path2 = path();
        break;
      case OpCode::remove:
        if (one_in(2)) op.flags = kOpDirectory;
        break;
      default:
        break;
    }
    if (has_path(code) && op.path.empty()) op.has_root = false;
    return op;
  }

  void make_open(ListedOp& op) {
    if (!one_in(4)) op.open_flags |= kOpenWrite;
    if (!one_in(3)) op.open_flags |= kOpenCreate;
    if (one_in(8)) op.open_flags |= kOpenExclusive;
    if (one_in(8)) op.open_flags |= kOpenTruncate;
    if (one_in(16)) op.open_flags |= kOpenDsync;
    if (one_in(16)) op.open_flags |= kOpenNoAtime;
    if (place_.direct && one_in(2)) op.open_flags |= kOpenDirect;
  }

  std::mt19937_64 random_;
  ListPlace place_;
};

std::uint64_t hash_of(const std::byte* data, std::size_t bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (std::size_t i = 0; i < bytes; ++i) {
    hash = (hash ^ static_cast<std::uint64_t>(data[i])) * 0x100000001b3U;
  }
  return hash;
}

const char* name_of(FileKind kind) noexcept {
  switch (kind) {
    case FileKind::regular:
      return "file";
    case FileKind::directory:
      return "directory";
    case FileKind::block_device:
      return "device";
    case FileKind::other:
      break;
  }
  return "other";
}

/// One driver over one directory.
class Runner {
 public:
  Runner(Driver& driver, const std::string& root) : driver_(driver), root_(root) {
    Result<AlignedBuf> buffer = AlignedBuf::zeroed(2 * kBufferBytes);
    DIORITE_ASSERT(static_cast<bool>(buffer), "no memory for a test");
    buffer_ = *std::move(buffer);
  }

  ListedResult execute(const ListedOp& listed) {
    ListedResult result;
    DriverFile& handle = handles_[listed.handle];
    const bool opens = listed.code == OpCode::open;
    if ((!has_path(listed.code) || opens) && static_cast<bool>(handle) == opens) {
      result.skipped = true;
      return result;
    }
    if (has_path(listed.code)) return execute_path(listed);
    InfoOp op;
    op.code = listed.code;
    op.flags = listed.flags;
    op.file = handle;
    op.offset = listed.offset;
    op.length = listed.length;
    op.bytes = listed.bytes;
    op.data = buffer_.data() + listed.shift;
    if (listed.code == OpCode::write) fill(op.data, listed.bytes, listed.fill);
    result.result = run(op);
    if (listed.code == OpCode::read && result.result > 0) {
      result.hash = hash_of(op.data, static_cast<std::size_t>(result.result));
    }
    if (listed.code == OpCode::info && result.result >= 0) {
      result.text = name_of(op.info.kind);
      // How large a directory is, is the file system's own affair.
      if (op.info.kind == FileKind::regular) result.bytes = op.info.bytes;
    }
    if (listed.code == OpCode::close) handle = DriverFile();
    return result;
  }

  void close_all() {
    for (DriverFile& handle : handles_) {
      if (!handle) continue;
      Op op;
      op.code = OpCode::close;
      op.file = handle;
      DIORITE_ASSERT(run(op) == 0, "a test's file cannot be closed");
      handle = DriverFile();
    }
  }

 private:
  ListedResult execute_path(const ListedOp& listed) {
    ListedResult result;
    const std::string path = listed.has_root ? root_ + '/' + listed.path : listed.path;
    const std::string path2 = root_ + '/' + listed.path2;
    ListOp op;
    op.code = listed.code;
    op.flags = listed.flags;
    op.path = path;
    if (listed.code == OpCode::rename) op.path2 = path2;
    op.open_flags = listed.open_flags;
    op.mode = listed.code == OpCode::make_dir ? 0700 : 0600;
    result.result = run(op);
    if (listed.code == OpCode::open && result.result >= 0) handles_[listed.handle] = op.file;
    if (listed.code == OpCode::list_dir && result.result >= 0) {
      std::vector<std::string> names;
      for (const DirEntry& entry : *op.entries) {
        names.push_back(entry.name.substr(0, 20) + ' ' + name_of(entry.kind));
      }
      std::sort(names.begin(), names.end());
      for (const std::string& name : names) result.text += name + ", ";
    }
    return result;
  }

  std::int32_t run(Op& op) {
    OpList done;
    driver_.submit(op);
    while (op.state != OpState::done) driver_.poll(done, kNever);
    done.pop_front();
    op.state = OpState::idle;
    return op.result;
  }

  static void fill(std::byte* data, std::uint32_t bytes, std::uint64_t seed) {
    std::uint64_t state = seed | 1;
    for (std::uint32_t i = 0; i < bytes; ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      data[i] = static_cast<std::byte>(state >> 56);
    }
  }

  Driver& driver_;
  const std::string& root_;
  AlignedBuf buffer_;
  std::array<DriverFile, kHandles> handles_;
};

}  // namespace

std::vector<ListedOp> make_list(std::uint64_t seed, const ListPlace& place) {
  ListMaker maker(seed, place);
  std::vector<ListedOp> list;
  while (list.size() < kListLength) list.push_back(maker.next());
  return list;
}

std::vector<ListedResult> run_list(Driver& driver, const std::string& root,
                                   const std::vector<ListedOp>& list) {
  Runner runner(driver, root);
  std::vector<ListedResult> results;
  for (const ListedOp& op : list) results.push_back(runner.execute(op));
  runner.close_all();
  return results;
}

std::string describe(const ListedOp& op) {
  std::string text = to_string(op.code);
  if (has_path(op.code)) {
    text += " '" + op.path.substr(0, 20) + "' (" + std::to_string(op.path.size()) + ")";
    if (op.code == OpCode::rename) text += " to '" + op.path2.substr(0, 20) + "'";
    if (op.code == OpCode::open) {
      text += " flags " + std::to_string(op.open_flags) + " as " + std::to_string(op.handle);
    }
  } else {
    text += " of " + std::to_string(op.handle) + " offset " + std::to_string(op.offset) +
            " length " + std::to_string(op.length) + " bytes " + std::to_string(op.bytes) +
            " shift " + std::to_string(op.shift);
  }
  return text + " op flags " + std::to_string(op.flags);
}

std::string describe(const ListedResult& result) {
  if (result.skipped) return "skipped";
  std::string text = std::to_string(result.result);
  if (result.result < 0) text += std::string(" ") + std::strerror(-result.result);
  if (result.hash != 0) text += " hash " + std::to_string(result.hash);
  return text + " size " + std::to_string(result.bytes) + ' ' + result.text;
}

}  // namespace diorite::test
