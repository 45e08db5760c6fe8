#include "peers/thread_log.hpp"

#if DIORITE_BENCH_ROCKSDB

#include <array>
#include <atomic>
#include <cstring>

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/version.h>

#include "measure.hpp"

namespace diorite::bench {
namespace {

class RocksDbLog final : public ThreadLog {
 public:
  explicit RocksDbLog(const Workspace& workspace) : workspace_(workspace) {}

  std::string name() const override {
    return fmt::format("RocksDB {}.{}, WAL sync", ROCKSDB_MAJOR, ROCKSDB_MINOR);
  }
  void renew(unsigned threads, std::uint64_t) override {
    if (db_ != nullptr) close();
    rocksdb::Options options;
    options.create_if_missing = true;
    // No table is written while the clock runs.
    options.write_buffer_size = std::size_t{1} << 30;
    options.max_total_wal_size = std::uint64_t{4} << 30;
    options.enable_pipelined_write = threads > 1;
    rocksdb::DB* db = nullptr;
    check(rocksdb::DB::Open(options, workspace_.file(kName), &db));
    db_.reset(db);
    next_key_ = 0;
  }
  void append(unsigned, std::span<const std::byte> record) override {
    std::array<char, sizeof(std::uint64_t)> key{};
    const std::uint64_t number = next_key_.fetch_add(1, std::memory_order_relaxed);
    std::memcpy(key.data(), &number, sizeof(number));
    rocksdb::WriteOptions options;
    options.sync = true;
    check(db_->Put(
        options, rocksdb::Slice(key.data(), key.size()),
        rocksdb::Slice(reinterpret_cast<const char*>(record.data()), record.size() - key.size())));
  }
  void close() override {
    db_.reset();
    workspace_.remove(kName);
  }

 private:
  static constexpr const char* kName = "rocksdb";
  static void check(const rocksdb::Status& status) {
    if (!status.ok()) throw Failure("RocksDB: " + status.ToString());
  }
  const Workspace& workspace_;
  std::unique_ptr<rocksdb::DB> db_;
  std::atomic<std::uint64_t> next_key_{0};
};

}  // namespace

std::unique_ptr<ThreadLog> make_rocksdb_log(const Workspace& workspace) {
  return std::make_unique<RocksDbLog>(workspace);
}

}  // namespace diorite::bench

#else

namespace diorite::bench {

std::unique_ptr<ThreadLog> make_rocksdb_log(const Workspace&) { return nullptr; }

}  // namespace diorite::bench

#endif
