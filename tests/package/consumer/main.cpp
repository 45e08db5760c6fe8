// The program of a user, built in three ways.

#include <cstdio>

#include <diorite/error.hpp>

int main() {
  const diorite::Error error(diorite::Errc::misaligned, 100, 4096);
  std::printf("consumer: works (%s)\n", error.text().c_str());
  return error == diorite::Errc::misaligned ? 0 : 1;
}
