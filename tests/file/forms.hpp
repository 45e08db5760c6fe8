// A transfer in each of its three buffer forms, with one kind of outcome.

#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "file/rig.hpp"

namespace diorite::test {

enum class Form : std::uint8_t { owned, pinned, borrowed };
inline constexpr Form kForms[] = {Form::owned, Form::pinned, Form::borrowed};
inline const char* name_of(Form form) {
  return form == Form::owned ? "owned" : form == Form::pinned ? "pinned" : "borrowed";
}

enum class Way : std::uint8_t { read_at, read_some_at, write_at };
inline constexpr Way kWays[] = {Way::read_at, Way::read_some_at, Way::write_at};
inline const char* name_of(Way way) {
  return way == Way::read_at ? "read_at" : way == Way::read_some_at ? "read_some_at" : "write_at";
}

/// Memory for one transfer at a time, in whichever form.
class Memory {
 public:
  Memory(Form memory_form, std::size_t bytes)
      : form(memory_form), frame_(bytes), owned_(buffer(bytes)) {}

  std::span<std::byte> bytes() noexcept {
    return form == Form::owned ? std::span(owned_.data(), owned_.capacity()) : frame_.bytes();
  }
  Frame& frame() noexcept { return frame_; }

  /// The whole transfer, as a task: the first `length` bytes of the memory.
  Task<IoResult> transfer(DirectFile& file, Way way, std::uint64_t offset, std::size_t length,
                          WriteFlags flags = {}) {
    const auto part = frame_.bytes().first(length);
    switch (form) {
      case Form::owned:
        return owned(file, way, offset, length, flags);
      case Form::pinned:
        return pinned(file, way, offset, part, flags);
      case Form::borrowed:
        return borrowed(file, way, offset, part, flags);
    }
    return {};
  }

  const Form form;
  std::size_t returned_size = 0;  ///< length of the buffer that came back; not for borrowed

 private:
  Task<IoResult> owned(DirectFile& file, Way way, std::uint64_t offset, std::size_t length,
                       WriteFlags flags) {
    AlignedBuf mine = std::move(owned_);
    const std::byte* const before = mine.data();
    if (way == Way::write_at) {
      REQUIRE(mine.set_len(length));
      BufIoResult result = co_await file.write_at(std::move(mine), offset, flags);
      take(result, before);
      co_return IoResult(result.error(), result.bytes());
    }
    if (way == Way::read_at) {
      BufIoResult result = co_await file.read_at(std::move(mine), offset, length);
      take(result, before);
      co_return IoResult(result.error(), result.bytes());
    }
    BufIoResult result = co_await file.read_some_at(std::move(mine), offset, length);
    take(result, before);
    co_return IoResult(result.error(), result.bytes());
  }
  void take(BufIoResult& result, const std::byte* before) {
    CHECK(result.buf().data() == before);
    returned_size = result.buf().size();
    owned_ = std::move(result.buf());
  }

  Task<IoResult> pinned(DirectFile& file, Way way, std::uint64_t offset, std::span<std::byte> part,
                        WriteFlags flags) {
    PinnedBuf mine = frame_.pinned(part);
    if (way == Way::write_at) {
      PinIoResult result = co_await file.write_at(std::move(mine), offset, flags);
      take(result, part);
      co_return IoResult(result.error(), result.bytes());
    }
    if (way == Way::read_at) {
      PinIoResult result = co_await file.read_at(std::move(mine), offset);
      take(result, part);
      co_return IoResult(result.error(), result.bytes());
    }
    PinIoResult result = co_await file.read_some_at(std::move(mine), offset);
    take(result, part);
    co_return IoResult(result.error(), result.bytes());
  }
  void take(PinIoResult& result, std::span<std::byte> part) {
    CHECK(static_cast<bool>(result.buf()));
    CHECK(result.buf().raw().data() == part.data());
    CHECK(result.buf().capacity() == part.size());
    CHECK(frame_.pins == 1);
    returned_size = result.buf().size();
  }

  Task<IoResult> borrowed(DirectFile& file, Way way, std::uint64_t offset,
                          std::span<std::byte> part, WriteFlags flags) {
    if (way == Way::write_at) co_return co_await file.write_at(ConstIoBuf(part), offset, flags);
    const RawIoBuf raw(part.data(), part.size());
    if (way == Way::read_at) co_return co_await file.read_at(raw, offset);
    co_return co_await file.read_some_at(raw, offset);
  }

  Frame frame_;
  AlignedBuf owned_;
};

}  // namespace diorite::test
