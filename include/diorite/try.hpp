// DIORITE_TRY and its kin: hand an error on to the caller in one line. Include it where you want
// it.
//
// They work on anything that is false on failure and has error(): Result, IoResult, BufResult. The
// CO_ forms are for coroutines. An IoResult that fails inside a function that returns Result loses
// its byte count and buffer on the way: where those matter, look at the IoResult yourself.
//
//   Task<Result<std::uint64_t>> pages(Reactor& reactor, std::string path) {
//     DIORITE_CO_TRY(auto file, co_await DirectFile::open(reactor, std::move(path)));
//     DIORITE_CO_TRY(auto bytes, co_await file.size());
//     co_return bytes / 4096;
//   }

#pragma once

#include <utility>

#define DIORITE_DETAIL_JOIN2(a, b) a##b
#define DIORITE_DETAIL_JOIN(a, b) DIORITE_DETAIL_JOIN2(a, b)

#define DIORITE_DETAIL_TRY(temporary, declaration, expression, leave) \
  auto temporary = (expression);                                      \
  if (!temporary) leave temporary.error();                            \
  declaration = *std::move(temporary)

#define DIORITE_DETAIL_CHECK(temporary, expression, leave) \
  if (auto temporary = (expression); !temporary)           \
    leave temporary.error();                               \
  else                                                     \
    static_cast<void>(0)

#define DIORITE_TRY(declaration, expression) \
  DIORITE_DETAIL_TRY(DIORITE_DETAIL_JOIN(diorite_try_, __LINE__), declaration, expression, return)
#define DIORITE_CHECK(expression) \
  DIORITE_DETAIL_CHECK(DIORITE_DETAIL_JOIN(diorite_try_, __LINE__), expression, return)
#define DIORITE_CO_TRY(declaration, expression)                                            \
  DIORITE_DETAIL_TRY(DIORITE_DETAIL_JOIN(diorite_try_, __LINE__), declaration, expression, \
                     co_return)
#define DIORITE_CO_CHECK(expression) \
  DIORITE_DETAIL_CHECK(DIORITE_DETAIL_JOIN(diorite_try_, __LINE__), expression, co_return)
