#include "driver/linux/uring_files.hpp"

#include <bit>

#include "driver/linux/uring_prep.hpp"

namespace diorite::detail {

Result<DriverFile> UringFiles::register_file(DriverFile file) noexcept {
  DIORITE_ASSERT(file && uring_file_place(file) == 0, "registering no file, or a registered one");
  const auto index = static_cast<std::uint32_t>(std::countr_one(used_));
  if (index >= ring_.files_max()) return Error(Errc::limit, index + 1, ring_.files_max());
  const int result = ring_.set_file(index, os_descriptor(file));
  if (result < 0) return Error::from_driver(result);
  used_ |= std::uint64_t{1} << index;
  return DriverFile{file.value | (static_cast<std::uint64_t>(index + 1) << 32)};
}

void UringFiles::release_file(DriverFile file) noexcept {
  const std::uint32_t index = uring_file_place(file) - 1;
  DIORITE_ASSERT(index < Uring::kFilesMax && ((used_ >> index) & 1) != 0,
                 "releasing a file that is not registered");
  // A kernel without memory for this keeps the file; then nobody else may have its place.
  if (ring_.set_file(index, -1) == 0) used_ &= ~(std::uint64_t{1} << index);
}

}  // namespace diorite::detail
