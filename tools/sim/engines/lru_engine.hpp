// LruEngine: a FileLru under test, with more files than it keeps open.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <diorite/file_lru.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

class LruEngine final : public Engine {
 public:
  explicit LruEngine(Choices& choices);

  Task<> live(Life& life) override;

 private:
  Task<bool> open(Life& life);
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
  std::unique_ptr<FileLru> cache_;
  Life* life_ = nullptr;
  bool closing_ = false;
};

}  // namespace diorite::sim
