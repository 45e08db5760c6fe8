// A transfer that is not awaited never starts.

#include <utility>

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/io.hpp>

diorite::Task<bool> copy_page(diorite::DirectFile& from, diorite::DirectFile& to,
                              diorite::AlignedBuf page) {
#ifdef DIORITE_FORGET
  from.read_at(page.as_raw(), 0);   // forgotten
  to.write_at(std::move(page), 0);  // forgotten
  to.sync_data();                   // forgotten
  co_return true;
#else
  const diorite::IoResult got = co_await from.read_at(page.as_raw(), 0);
  const diorite::BufIoResult put = co_await to.write_at(std::move(page), 0);
  const diorite::Result<void> synced = co_await to.sync_data();
  co_return got&& put&& synced;
#endif
}
