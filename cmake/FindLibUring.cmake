# Finds liburing, which ships a pkg-config file and no CMake package.
#
# Defines LibUring_FOUND, LibUring_VERSION (where pkg-config knows it) and the imported target
# LibUring::LibUring. Installed beside diorite's package file, which needs it too.

find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_LibUring QUIET liburing)
endif()

find_path(LibUring_INCLUDE_DIR liburing.h HINTS ${PC_LibUring_INCLUDE_DIRS})
find_library(LibUring_LIBRARY uring HINTS ${PC_LibUring_LIBRARY_DIRS})
mark_as_advanced(LibUring_INCLUDE_DIR LibUring_LIBRARY)
set(LibUring_VERSION "${PC_LibUring_VERSION}")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibUring
  REQUIRED_VARS LibUring_LIBRARY LibUring_INCLUDE_DIR
  VERSION_VAR LibUring_VERSION)

if(LibUring_FOUND AND NOT TARGET LibUring::LibUring)
  add_library(LibUring::LibUring UNKNOWN IMPORTED)
  set_target_properties(
    LibUring::LibUring PROPERTIES IMPORTED_LOCATION "${LibUring_LIBRARY}"
                                  INTERFACE_INCLUDE_DIRECTORIES "${LibUring_INCLUDE_DIR}")
endif()
