#include "peers/thread_log.hpp"

#if DIORITE_BENCH_LEVELDB

#include <array>
#include <atomic>
#include <cstring>

#include <fmt/format.h>
#include <leveldb/db.h>

#include "measure.hpp"

namespace diorite::bench {
namespace {

class LevelDbLog final : public ThreadLog {
 public:
  explicit LevelDbLog(const Workspace& workspace) : workspace_(workspace) {}

  std::string name() const override {
    return fmt::format("LevelDB {}.{}, sync", leveldb::kMajorVersion, leveldb::kMinorVersion);
  }
  void renew(unsigned, std::uint64_t) override {
    if (db_ != nullptr) close();
    leveldb::Options options;
    options.create_if_missing = true;
    // No table is written while the clock runs.
    options.write_buffer_size = std::size_t{1} << 30;
    leveldb::DB* db = nullptr;
    check(leveldb::DB::Open(options, workspace_.file(kName), &db));
    db_.reset(db);
    next_key_ = 0;
  }
  void append(unsigned, std::span<const std::byte> record) override {
    std::array<char, sizeof(std::uint64_t)> key{};
    const std::uint64_t number = next_key_.fetch_add(1, std::memory_order_relaxed);
    std::memcpy(key.data(), &number, sizeof(number));
    leveldb::WriteOptions options;
    options.sync = true;
    check(db_->Put(
        options, leveldb::Slice(key.data(), key.size()),
        leveldb::Slice(reinterpret_cast<const char*>(record.data()), record.size() - key.size())));
  }
  void close() override {
    db_.reset();
    workspace_.remove(kName);
  }

 private:
  static constexpr const char* kName = "leveldb";
  static void check(const leveldb::Status& status) {
    if (!status.ok()) throw Failure("LevelDB: " + status.ToString());
  }
  const Workspace& workspace_;
  std::unique_ptr<leveldb::DB> db_;
  std::atomic<std::uint64_t> next_key_{0};
};

}  // namespace

std::unique_ptr<ThreadLog> make_leveldb_log(const Workspace& workspace) {
  return std::make_unique<LevelDbLog>(workspace);
}

}  // namespace diorite::bench

#else

namespace diorite::bench {

std::unique_ptr<ThreadLog> make_leveldb_log(const Workspace&) { return nullptr; }

}  // namespace diorite::bench

#endif
