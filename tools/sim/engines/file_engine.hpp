// FileEngine: one DirectFile under test, with several coroutines that read, write and sync.

#pragma once

#include <cstdint>

#include <diorite/file.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

class FileEngine final : public Engine {
 public:
  explicit FileEngine(Choices& choices);

  Task<> live(Life& life) override;

 private:
  struct Range {
    std::uint64_t offset = 0;
    std::size_t bytes = 0;
  };
  Task<bool> open(Life& life);
  Task<bool> check_found(Life& life);
  Task<> act_for_a_while(Life& life);
  /// A poisoned file takes no changes and no syncs.
  Task<> check_refusals(Life& life);
  Task<> act(Life& life);
  Task<> write(Life& life);
  Task<> write_and_die(Life& life);
  Task<> read(Life& life);
  Task<> sync(Life& life);
  static Task<> write_child(FileEngine& engine, Life& life);
  Range draw_range(Choices& choices) const;
  void failed(Life& life, const Error& error);

  Direct direct_;
  std::uint32_t workers_;
  std::uint32_t blocks_;  ///< of 4 KiB; how large the file may grow
  FileOracle oracle_;
  bool set_up_ = false;
  bool unchecked_ = false;  ///< the power has gone since the file was last read whole

  // Of the present life.
  DirectFile file_;
};

}  // namespace diorite::sim
