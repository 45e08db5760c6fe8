// LruEngine: a FileLru under test, with more files than it keeps open.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <diorite/file_lru.hpp>
#include <diorite/fs.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

class LruEngine final : public Engine {
 public:
  explicit LruEngine(Choices& choices);

  Task<> live(Life& life) override;

 private:
  /// Those who have one file, or wait for it.
  struct Users {
    std::uint32_t now = 0;
    bool alone = false;                ///< nobody else has since the first of them came
    const DirectFile* file = nullptr;  ///< what the first one got, while it is alone
    /// It was evicted while somebody had it: its handle closes when that one lets go, which may be
    /// after a newer one was opened and lent out.
    bool evicted_in_use = false;
  };
  /// One of them. Must outlive its lease.
  class Use {
   public:
    explicit Use(Users& users) noexcept : users_(users) {
      users_.alone = users_.now++ == 0;
      users_.file = nullptr;
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      --users_.now;
      users_.file = nullptr;
    }

   private:
    Users& users_;
  };
  Task<bool> open(Life& life);
  Task<> work(Life& life);
  Task<bool> check_found(Life& life);
  Task<bool> check_bytes(Life& life, std::uint64_t key);
  Task<> act_for_a_while(Life& life);
  Task<> act(Life& life);
  Task<> write(Life& life);
  Task<> read(Life& life);
  Task<> sync(Life& life);
  Task<> sync_names(Life& life);
  Task<> evict(Life& life);
  Task<> remove(Life& life);
  Task<> close_all(Life& life);
  Task<FileLease> acquire(Life& life, std::uint64_t key);
  /// A key whose file is not on its way out.
  std::uint64_t draw_key(Choices& choices);
  void failed(Life& life, const Error& error);
  static void told_of_failure(void* engine, std::uint64_t key, const Error& error) noexcept;

  std::uint32_t workers_;
  std::uint32_t files_;
  Direct direct_;
  LruOracle oracle_;
  std::vector<bool> leaving_;  ///< removed, and not surely gone
  bool set_up_ = false;
  bool unchecked_ = false;

  // Of the present life.
  FileLock lock_;
  std::vector<Users> users_;  ///< by key
  std::unique_ptr<FileLru> cache_;
  Life* life_ = nullptr;
  bool closing_ = false;
};

}  // namespace diorite::sim
