// The program of a user, built in three ways.

#include <cstdio>

#include <diorite/buffer.hpp>

int main() {
  diorite::Result<diorite::AlignedBuf> page = diorite::AlignedBuf::page();
  if (!page) return 1;
  const diorite::Result<> refused = page->extend(page->bytes());
  if (refused || !diorite::is_aligned(page->bytes().data(), 4096)) return 1;
  std::printf("consumer: works (%s)\n", refused.error().text().c_str());
  return 0;
}
