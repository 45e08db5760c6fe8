include_guard(GLOBAL)

set(THREADS_PREFER_PTHREAD_FLAG OFF)
find_package(Threads REQUIRED)

# Used by sources only, header-only, and therefore absent from the exported targets.
if(NOT TARGET fmt::fmt-header-only)
  find_package(fmt REQUIRED)
endif()

set(DIORITE_HAS_URING OFF)
if(DIORITE_WITH_URING STREQUAL "AUTO")
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    find_package(LibUring)
    set(DIORITE_HAS_URING ${LibUring_FOUND})
  endif()
elseif(DIORITE_WITH_URING)
  find_package(LibUring REQUIRED)
  set(DIORITE_HAS_URING ON)
endif()
