// Rows of the result, as people read them (Markdown) and as tools do (JSON).

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace diorite::bench {

enum class Outcome { met, missed, busy, none };

/// One comparison.
struct Row {
  std::string name;      ///< "P2 depth 32"
  std::string quantity;  ///< "4 KiB random reads"
  std::string unit;
  std::string baseline_name;
  bool higher_is_better = true;
  Verdict verdict;
  std::string target;  ///< in words; empty where there is none
  bool met = false;
  /// More figures, each under its own key in the JSON line.
  std::vector<std::pair<std::string, double>> more;

  Outcome outcome() const noexcept;
};

/// A row of `rounds`: side 0 against side `baseline`, with what both took per operation.
Row make_row(std::string name, const std::vector<Side>& sides, const std::vector<Round>& rounds,
             std::size_t baseline, Value value);

class Report {
 public:
  explicit Report(std::vector<std::pair<std::string, std::string>> facts, bool quick)
      : facts_(std::move(facts)), quick_(quick) {}

  /// Prints the row and its JSON line.
  void add(Row row);
  /// What a figure does not say, for the text below the table.
  void note(std::string text);
  bool empty() const noexcept { return rows_.empty(); }
  /// Writes report.md and report.json. Errors: throws Failure.
  void write(const std::string& dir, double seconds) const;

 private:
  std::string markdown(double seconds) const;
  std::string json(double seconds) const;

  std::vector<std::pair<std::string, std::string>> facts_;
  std::vector<Row> rows_;
  std::vector<std::string> notes_;
  bool quick_;
};

}  // namespace diorite::bench
