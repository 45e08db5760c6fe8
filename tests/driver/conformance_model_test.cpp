// Thousands of random operations, removals and orphans against a model in memory, on every driver.

#include "driver/op_model.hpp"

using namespace diorite;
using namespace diorite::test;

TEST_CASE("10,000 random operations do what a model says", "[driver][model]") {
  const std::uint32_t in_flight_max = GENERATE(3U, 1024U);
  DriverOptions options;
  options.in_flight_max = in_flight_max;
  on_every_driver(options, [&](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    run_model(driver, file, 20240229U + in_flight_max, 10000);
    close_file(driver, file);
  });
}
