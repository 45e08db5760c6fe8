#include "journal_rig.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cases.hpp"

#include <diorite/align.hpp>
#include <diorite/timer.hpp>
#include <diorite/try.hpp>

namespace diorite::bench {
namespace {

constexpr const char* kName = "journal";
constexpr std::uint64_t kSegmentUnit = std::uint64_t{64} << 10;
constexpr std::uint64_t kSegmentMin = std::uint64_t{1} << 20;

/// Spares are made in the background, which runs only while the reactor turns.
Task<Result<void>> wait_for_spares(Journal& journal, std::uint64_t spares) {
  while (journal.stats().spares_ready < spares) {
    DIORITE_CO_CHECK(co_await sleep_for(std::chrono::milliseconds(1)));
    if (journal.poison()) co_return journal.poison();
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<std::unique_ptr<Journal>>> open_fresh_journal(Reactor& reactor, std::string dir,
                                                          std::uint64_t bytes) {
  JournalOptions options;
  options.segment_bytes = std::max(kSegmentMin, align_up(bytes + kSegmentUnit, kSegmentUnit));
  options.spares = 1;
  options.direct = Direct::required;
  DIORITE_CO_TRY(auto journal, co_await Journal::open(reactor, std::move(dir), options));
  DIORITE_CO_CHECK(co_await wait_for_spares(*journal, options.spares));
  co_return std::move(journal);
}

JournalRig::~JournalRig() {
  // Only after a failure is there still one: it goes with its folder, so its errors matter no more.
  journal_.reset();
}

void JournalRig::renew(std::uint64_t bytes) {
  if (journal_ != nullptr) close();
  journal_ =
      require(reactor_.block_on(open_fresh_journal(reactor_, workspace_.file(kName), bytes)));
}

void JournalRig::close() {
  require(reactor_.block_on(journal_->close()));
  journal_.reset();
  workspace_.remove(kName);
}

}  // namespace diorite::bench
