// The proof: what the journal holds, against the input and the acknowledgements.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ingest/input.hpp"
#include "ingest/record.hpp"

#include <diorite/journal.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace ingest {

struct Findings {
  std::uint64_t records = 0;  ///< in the journal
  std::uint64_t bytes = 0;    ///< of their payloads
  std::uint64_t lost = 0;     ///< acknowledged, and missing or different
  std::uint64_t unasked = 0;  ///< there, but never appended: not the next line of any file
  std::uint64_t unheard = 0;  ///< there, intact, and not acknowledged before the end
  std::vector<std::uint32_t> lines_done;  ///< by file
  std::string first_fault;

  bool ok() const { return lost == 0 && unasked == 0; }
};

/// Reads the whole journal. Every record must be the next line of its file, byte for byte, since
/// each file is appended by one coroutine in order; record number n must be what acknowledgement n
/// said.
diorite::Task<diorite::Result<Findings>> check(diorite::Journal& journal, Input& input,
                                               std::vector<Ack> acks);

}  // namespace ingest
