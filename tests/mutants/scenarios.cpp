#include "scenarios.hpp"

#include "engines/journal_engine.hpp"

#include <diorite/sim/machine.hpp>

namespace diorite::mutants {
namespace {

using namespace diorite::sim;

/// A journal whose lives end while MANIFEST is being written, before that is durable: by turns by a
/// kill and by a power cut. What one process has written and not synced, the next one may read, act
/// upon, and lose.
class ManifestWindow final : public Engine {
 public:
  explicit ManifestWindow(Choices& choices) : choices_(choices), journal_(choices) {}

  Task<> live(Life& life) override {
    machine_ = &life.machine();
    written_ = false;
    // The last life must be able to end well.
    if (!life.is_healthy()) {
      machine_->cancel_plan();
      machine_->set_log(&ManifestWindow::told, this);
    }
    co_await journal_.live(life);
    machine_->set_log(nullptr, nullptr);
  }

 private:
  static void told(void* context, std::string_view line) {
    auto& self = *static_cast<ManifestWindow*>(context);
    // "... begin  write wal/MANIFEST offset ...", "... begin  sync_data wal/MANIFEST"
    const auto says = [line](std::string_view what) { return line.find(what) != line.npos; };
    if (says(" write ") && says("/MANIFEST ")) self.written_ = true;
    if (!says(" begin ") || !says(" sync_data ") || !line.ends_with("/MANIFEST")) return;
    // The one that an open begins with is not meant.
    if (!self.written_ || self.choices_.draw(2) == 0) return;
    self.written_ = false;
    self.was_killed_ = !self.was_killed_;
    if (self.was_killed_) {
      self.machine_->plan_kill(1);
    } else {
      self.machine_->plan_power_cut(1);
    }
  }

  Choices& choices_;
  Machine* machine_ = nullptr;
  bool written_ = false;     ///< in this life
  bool was_killed_ = false;  ///< in the life before
  JournalEngine journal_;
};

/// A journal whose process is killed as soon as a sync has failed, before it can warn the next one.
class FailedSync final : public Engine {
 public:
  explicit FailedSync(Choices& choices) : journal_(choices) {}

  Task<> live(Life& life) override {
    machine_ = &life.machine();
    if (!life.is_healthy()) {
      machine_->cancel_plan();
      machine_->set_log(&FailedSync::told, this);
    }
    co_await journal_.live(life);
    machine_->set_log(nullptr, nullptr);
  }

 private:
  static void told(void* context, std::string_view line) {
    // "... end   sync_data  -> -5"
    const auto says = [line](std::string_view what) { return line.find(what) != line.npos; };
    if (says(" end ") && says(" sync_data ") && says("-> -")) {
      static_cast<FailedSync*>(context)->machine_->plan_kill(1);
    }
  }

  Machine* machine_ = nullptr;
  JournalEngine journal_;
};

}  // namespace

bool find_scenario(std::string_view name, EngineFactory& factory) noexcept {
  if (name == "manifest-window") {
    factory = factory_of<ManifestWindow>();
  } else if (name == "failed-sync") {
    factory = factory_of<FailedSync>();
  } else {
    return false;
  }
  return true;
}

}  // namespace diorite::mutants
