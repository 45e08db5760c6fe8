// The program of a user who tests an engine of their own on the simulator.

#include <cstdio>

#include <diorite/sim/run.hpp>

namespace {

class Nothing final : public diorite::sim::Engine {
 public:
  diorite::Task<> live(diorite::sim::Life& life) override {
    life.acknowledge();
    co_return;
  }
};

}  // namespace

int main() {
  const diorite::sim::Report report = diorite::sim::run<Nothing>({.schedules = 10});
  if (!report.passed() || report.acknowledged == 0) return 1;
  std::printf("consumer: works (%s)\n", report.text().c_str());
  return 0;
}
