#include "ingest/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include <diorite/journal_reader.hpp>
#include <diorite/try.hpp>

namespace ingest {

using diorite::JournalReader;
using diorite::Record;
using diorite::Result;
using diorite::Task;

namespace {

/// A file whose lines are being met: its text and how far it has been met.
struct Reading {
  std::string text;
  std::size_t at = 0;
};

class Checker {
 public:
  Checker(Input& input, std::vector<Ack> acks) : input_(input), acks_(std::move(acks)) {
    findings_.lines_done.assign(input.paths().size(), 0);
    std::sort(acks_.begin(), acks_.end(),
              [](const Ack& a, const Ack& b) { return a.record_no < b.record_no; });
  }

  Task<Result<void>> meet(const Record& record) {
    ++findings_.records;
    findings_.bytes += record.payload.size();
    LineId id;
    std::string_view line;
    const bool ours = parse(record.payload, id, line) && id.file < findings_.lines_done.size();
    if (!ours || id.line != findings_.lines_done[id.file]) {
      unasked(record, "is not the next line of any file");
      co_return Result<void>();
    }
    auto [place, is_new] = readings_.try_emplace(id.file);
    if (is_new) {
      DIORITE_CO_TRY(place->second.text, co_await input_.read(id.file));
    }
    Reading& reading = place->second;
    std::string_view rest = std::string_view(reading.text).substr(reading.at);
    std::string_view expected;
    if (!next_line(rest, expected) || expected != line) {
      unasked(record, "differs from its line");
      co_return Result<void>();
    }
    reading.at = reading.text.size() - rest.size();
    ++findings_.lines_done[id.file];
    if (rest.empty()) readings_.erase(place);
    match_ack(record, id);
    co_return Result<void>();
  }

  Findings finish() {
    while (next_ack_ < acks_.size()) lost(acks_[next_ack_++]);
    return std::move(findings_);
  }

 private:
  void match_ack(const Record& record, const LineId& id) {
    while (next_ack_ < acks_.size() && acks_[next_ack_].record_no < record.record_no) {
      lost(acks_[next_ack_++]);
    }
    if (next_ack_ == acks_.size() || acks_[next_ack_].record_no != record.record_no) {
      ++findings_.unheard;
      return;
    }
    const Ack& ack = acks_[next_ack_++];
    if (!(ack.id == id)) lost(ack);
  }

  void lost(const Ack& ack) {
    ++findings_.lost;
    fault(fmt::format("record {} (file {}, line {}) was acknowledged and is not there",
                      ack.record_no, ack.id.file, ack.id.line));
  }
  void unasked(const Record& record, std::string_view what) {
    ++findings_.unasked;
    fault(fmt::format("record {} at LSN {} {}", record.record_no, record.begin.value, what));
  }
  void fault(std::string text) {
    if (findings_.first_fault.empty()) findings_.first_fault = std::move(text);
  }

  Input& input_;
  std::vector<Ack> acks_;
  std::size_t next_ack_ = 0;
  std::unordered_map<std::uint32_t, Reading> readings_;
  Findings findings_;
};

}  // namespace

Task<Result<Findings>> check(diorite::Journal& journal, Input& input, std::vector<Ack> acks) {
  Checker checker(input, std::move(acks));
  DIORITE_CO_TRY(JournalReader reader, co_await JournalReader::open(journal, journal.head_lsn()));
  for (;;) {
    const Record* record = reader.next_buffered();
    if (record == nullptr) {
      DIORITE_CO_TRY(record, co_await reader.next());
      if (record == nullptr) break;
    }
    DIORITE_CO_CHECK(co_await checker.meet(*record));
  }
  co_return checker.finish();
}

}  // namespace ingest
