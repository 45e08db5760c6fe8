// Engines that get by with a file or two: overlapping writes, a file replaced by a rename, a file
// cut short, files that a cache closes.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include <diorite/file.hpp>
#include <diorite/file_lru.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

/// What the engines here have in common.
class SmallFileEngine : public Engine {
 public:
  /// Makes the files that the first life finds. An engine that remember()s this one goes on there.
  virtual Task<> prepare(Life& life) = 0;

 protected:
  /// Writes `bytes` of the pattern `number`. False when it failed, or the process has ended.
  static Task<bool> write(Life& life, DirectFile& file, FileOracle& oracle, std::uint64_t offset,
                          std::size_t bytes, std::uint64_t number, bool dsync = false);
  static Task<bool> sync(Life& life, DirectFile& file, FileOracle& oracle);
  /// A whole file of at most `bytes` against what may be there.
  static Task<bool> check(Life& life, std::string path, FileOracle& oracle, std::size_t bytes);
  static Task<bool> make(Life& life, std::string path, FileOracle& oracle, std::size_t bytes);
  /// False when there is no result to go on with.
  template <class R>
  static bool succeeded(Life& life, const R& result, const char* what) {
    if (life.is_over()) return false;
    if (!result) life.violation(std::string(what) + " failed: " + result.error().text());
    return static_cast<bool>(result);
  }
};

/// Two writes at once that overlap, a sync, and one more write that is durable by itself. The next
/// life does part of it again.
class SmallOverlap final : public SmallFileEngine {
 public:
  Task<> live(Life& life) override;
  Task<> prepare(Life& life) override;
  std::uint64_t fingerprint() const override { return oracle_.fingerprint(); }
  void remember(const SmallOverlap& prepared) { oracle_ = prepared.oracle_; }

 private:
  FileOracle oracle_;
};

/// A file is written, synced, and takes the place of another by its rename, twice.
class SmallReplace final : public SmallFileEngine {
 public:
  Task<> live(Life& life) override;
  Task<> prepare(Life& life) override;
  std::uint64_t fingerprint() const override { return 1 + promised_ * 256 + tried_; }
  void remember(const SmallReplace&) noexcept {}

 private:
  Task<bool> find(Life& life);
  Task<bool> replace(Life& life, std::uint64_t version);

  std::uint64_t promised_ = 0;  ///< the version that must be there; 0: none need be
  std::uint64_t tried_ = 0;     ///< the last one that may be there
};

/// A file is cut short, synced, and written beyond its end.
class SmallTruncate final : public SmallFileEngine {
 public:
  Task<> live(Life& life) override;
  Task<> prepare(Life& life) override;
  std::uint64_t fingerprint() const override { return 1 + static_cast<std::uint64_t>(done_); }
  void remember(const SmallTruncate&) noexcept {}

 private:
  enum class Done : std::uint8_t { nothing, cut_tried, cut, write_tried, all };
  Task<bool> find(Life& life);
  std::string judge(std::span<const std::byte> found) const;

  Done done_ = Done::nothing;
};

/// Two files of a FileLru are written, closed by it, written again and synced.
class SmallLru final : public SmallFileEngine {
 public:
  Task<> live(Life& life) override;
  Task<> prepare(Life& life) override;
  std::uint64_t fingerprint() const override;
  void remember(const SmallLru& prepared) { files_ = prepared.files_; }

 private:
  Task<> use(Life& life, FileLru& cache, std::uint64_t key);
  Task<> use_again(Life& life, FileLru& cache, std::uint64_t key);
  Task<> close_all(Life& life, FileLru& cache);

  std::array<FileOracle, 2> files_;
};

}  // namespace diorite::sim
