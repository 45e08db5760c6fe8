// The main function of every test executable. Compiled once, since Catch2 2 has its whole
// implementation in the header.

#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

#include <cstdlib>

int main(int argc, char** argv) {
  // Tests that are run by hand, without ctest, still write beside the build and not into /tmp.
  ::setenv("DIORITE_TEST_DIR", DIORITE_TEST_DIR_DEFAULT, 0);
  return Catch::Session().run(argc, argv) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
