#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

namespace diorite::bench {
namespace {

constexpr std::string_view kTableHead =
    "| case | what | ours | baseline | | ratio | quartiles | target | |\n"
    "| --- | --- | ---: | ---: | --- | ---: | --- | --- | --- |\n";

/// Three significant digits, and no fewer than stand before the point.
std::string number(double value) {
  if (value == 0) return "0";
  const double size = std::fabs(value);
  if (size >= 10'000'000) return fmt::format("{:.2f} M", value / 1e6);
  if (size >= 100'000) return fmt::format("{:.0f} k", value / 1e3);
  if (size >= 100) return fmt::format("{:.0f}", value);
  if (size >= 1) return fmt::format("{:.{}f}", value, size >= 10 ? 1 : 2);
  return fmt::format("{:.3g}", value);
}

const char* outcome_text(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::met:
      return "met";
    case Outcome::missed:
      return "**missed**";
    case Outcome::busy:
      return "*machine busy*";
    case Outcome::none:
      return "";
  }
  return "";
}

std::string table_row(const Row& row) {
  const Verdict& v = row.verdict;
  return fmt::format("| {} | {} | {} {} | {} | {} | {:.3f} | {:.3f} - {:.3f} | {} | {} |\n",
                     row.name, row.quantity, number(v.ours), row.unit, number(v.baseline),
                     row.baseline_name, v.ratio, v.q1, v.q3, row.target,
                     outcome_text(row.outcome()));
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string json_line(const Row& row) {
  const Verdict& v = row.verdict;
  std::string line = fmt::format(
      R"({{"case":{},"ours":{:.6g},"baseline":{:.6g},"baseline_name":{},"unit":{},"ratio":{:.4f},)"
      R"("q1":{:.4f},"q3":{:.4f},"higher_is_better":{},"difference":{:.6g},"pairs":{},)"
      R"("disturbed":{},"busy":{})",
      quoted(row.name), v.ours, v.baseline, quoted(row.baseline_name), quoted(row.unit), v.ratio,
      v.q1, v.q3, row.higher_is_better, v.difference, v.pairs, v.disturbed, v.busy);
  if (!row.target.empty()) {
    line += fmt::format(R"(,"target":{},"met":{})", quoted(row.target), row.met);
  }
  for (const auto& [key, value] : row.more) {
    line += fmt::format(",{}:{:.6g}", quoted(key), value);
  }
  return line + "}";
}

double allocations_per_op(const Sample& sample) noexcept {
  return sample.operations == 0
             ? 0
             : static_cast<double>(sample.allocations) / static_cast<double>(sample.operations);
}

double enters_per_op(const Sample& sample) noexcept {
  return sample.operations == 0
             ? 0
             : static_cast<double>(sample.enters) / static_cast<double>(sample.operations);
}

double p99_us(const Sample& sample) noexcept { return sample.p99_us; }

std::string findings(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    const Verdict& v = row.verdict;
    if (row.outcome() == Outcome::missed) {
      text += fmt::format("- {} ({}): the target is {}; {:.3f} x {} was measured, {:+.3g} {}.\n",
                          row.name, row.quantity, row.target, v.ratio, row.baseline_name,
                          v.difference, row.unit);
    } else if (row.outcome() == Outcome::busy) {
      text += fmt::format(
          "- {} ({}): {} of {} rounds were disturbed by other processes. The figures rest on all "
          "of "
          "them and prove nothing; run again on an idle machine.\n",
          row.name, row.quantity, v.disturbed, v.pairs);
    } else if (row.target.empty() && (row.higher_is_better ? v.q3 < 1 : v.q1 > 1)) {
      text += fmt::format("- {} ({}): behind {}, {:.3f} x.\n", row.name, row.quantity,
                          row.baseline_name, v.ratio);
    }
  }
  return text.empty() ? "- Every target was met.\n" : text;
}

/// One line for each name and baseline; the figures that make_row added.
std::string costs(const std::vector<Row>& rows) {
  std::string text =
      "| case | side | CPU ns/op | ring enters/op | allocations/op | p50 us | p99 us |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
  for (const Row& row : rows) {
    const auto get = [&row](std::string_view key) {
      const auto found = std::find_if(row.more.begin(), row.more.end(),
                                      [key](const auto& entry) { return entry.first == key; });
      return found == row.more.end() ? std::string() : number(found->second);
    };
    if (get("ours_enters_per_op").empty()) continue;
    for (const std::string_view side : {"ours", "baseline"}) {
      const std::string prefix = std::string(side) + "_";
      text += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", row.name,
                          side == "ours" ? std::string("ours") : row.baseline_name,
                          get(prefix + "cpu_ns_per_op"), get(prefix + "enters_per_op"),
                          get(prefix + "allocations_per_op"), get(prefix + "p50_us"),
                          get(prefix + "p99_us"));
    }
  }
  return text;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Failure("cannot write " + path);
}

}  // namespace

Outcome Row::outcome() const noexcept {
  if (verdict.busy) return Outcome::busy;
  if (target.empty()) return Outcome::none;
  return met ? Outcome::met : Outcome::missed;
}

Row make_row(std::string name, const std::vector<Side>& sides, const std::vector<Round>& rounds,
             std::size_t baseline, Value value) {
  Row row;
  row.name = std::move(name);
  row.baseline_name = sides[baseline].name;
  row.verdict = compare(rounds, baseline, value);
  const auto add = [&](const std::string& key, Value of) {
    row.more.emplace_back("ours_" + key, median_of(rounds, 0, of));
    row.more.emplace_back("baseline_" + key, median_of(rounds, baseline, of));
  };
  add("cpu_ns_per_op", cpu_ns_per_op);
  add("enters_per_op", enters_per_op);
  add("allocations_per_op", allocations_per_op);
  if (median_of(rounds, 0, p50_us) > 0) {
    add("p50_us", p50_us);
    add("p99_us", p99_us);
  }
  return row;
}

void Report::add(Row row) {
  if (rows_.empty()) fmt::print("{}", kTableHead);
  fmt::print("{}{}\n", table_row(row), json_line(row));
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

void Report::note(std::string text) {
  if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) {
    notes_.push_back(std::move(text));
  }
}

std::string Report::markdown(double seconds) const {
  std::string text = "# diorite: benchmark\n\n";
  text += fmt::format(
      "Figures are ratios within one run: ours and the baseline take turns, and the ratio is the "
      "median of the rounds'. Absolute values are medians, for orientation. {}run, {:.0f} s.\n\n",
      quick_ ? "Quick " : "Full ", seconds);
  text += "## Results\n\n";
  text += kTableHead;
  for (const Row& row : rows_) text += table_row(row);
  text += "\n## What speaks against us\n\n" + findings(rows_);
  text += "\n## What an operation takes\n\n" + costs(rows_);
  text += "\n## What was measured\n\n";
  for (const std::string& note : notes_) text += "- " + note + "\n";
  text += "\n## Machine\n\n| | |\n| --- | --- |\n";
  for (const auto& [name, value] : facts_) text += fmt::format("| {} | {} |\n", name, value);
  return text;
}

std::string Report::json(double seconds) const {
  std::string text =
      fmt::format("{{\n\"quick\":{},\n\"seconds\":{:.1f},\n\"machine\":{{", quick_, seconds);
  for (std::size_t i = 0; i < facts_.size(); ++i) {
    text += fmt::format("{}\n{}:{}", i == 0 ? "" : ",", quoted(facts_[i].first),
                        quoted(facts_[i].second));
  }
  text += "\n},\n\"rows\":[";
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    text += fmt::format("{}\n{}", i == 0 ? "" : ",", json_line(rows_[i]));
  }
  return text + "\n]\n}\n";
}

void Report::write(const std::string& dir, double seconds) const {
  write_file(dir + "/report.md", markdown(seconds));
  write_file(dir + "/report.json", json(seconds));
}

}  // namespace diorite::bench
