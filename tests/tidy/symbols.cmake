# Checks the object files of a static library: only those of the drivers may call the operating
# system about files, clocks, random numbers or threads. So nothing escapes a simulated driver.
#
#   cmake -DNM=... -DLIBRARY=libdiorite.a -DALLOWED=regex -P symbols.cmake
#
# ALLOWED matches the names of the object files of the drivers; it must match at least one that
# makes such calls, or else this check looks at the wrong thing.

cmake_minimum_required(VERSION 3.24)

set(forbidden
    # Files.
    open open64 openat openat64 creat creat64 close read write pread pread64 pwrite pwrite64 readv
    writev preadv preadv2 preadv64 preadv64v2 pwritev pwritev2 pwritev64 pwritev64v2 lseek lseek64
    fsync fdatasync sync syncfs sync_file_range ftruncate ftruncate64 truncate truncate64 fallocate
    fallocate64 posix_fallocate posix_fallocate64 posix_fadvise posix_fadvise64 stat stat64 fstat
    fstat64 lstat lstat64 fstatat fstatat64 statx access faccessat rename renameat renameat2 unlink
    unlinkat rmdir mkdir mkdirat link linkat symlink symlinkat opendir fdopendir readdir readdir64
    closedir fcntl fcntl64 flock lockf lockf64 ioctl mmap mmap64 msync fopen fopen64 fread fwrite
    # Clocks, randomness, processes and threads.
    clock_gettime gettimeofday time nanosleep clock_nanosleep usleep sleep getrandom getentropy rand
    random getpid gettid poll ppoll select epoll_wait eventfd timerfd_create pthread_create
    pthread_self syscall
    _ZNSt6chrono3_V212steady_clock3nowEv _ZNSt6chrono3_V212system_clock3nowEv
    _ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE)
# Standard error is where a failed assertion is told; it decides nothing.
set(tells_people "^(assert)\\.cpp\\.o")
# The one thread that the library makes, and that its type names.
set(is_a_thread "^(reactor_thread)\\.cpp\\.o")

execute_process(COMMAND "${NM}" --undefined-only "${LIBRARY}" OUTPUT_VARIABLE symbols
                RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${NM} cannot read ${LIBRARY}")
endif()
string(REPLACE "\n" ";" lines "${symbols}")

set(object "")
set(objects 0)
set(driver_calls 0)
set(found "")
foreach(line IN LISTS lines)
  if(line MATCHES "^(.*\\.o):$")
    set(object "${CMAKE_MATCH_1}")
    math(EXPR objects "${objects} + 1")
  elseif(line MATCHES "^ +U ([A-Za-z0-9_]+)")
    if("${CMAKE_MATCH_1}" IN_LIST forbidden)
      set(symbol "${CMAKE_MATCH_1}")
      if(ALLOWED AND object MATCHES "${ALLOWED}")
        math(EXPR driver_calls "${driver_calls} + 1")
      elseif(NOT (object MATCHES "${tells_people}" AND symbol STREQUAL "fwrite") AND
             NOT (object MATCHES "${is_a_thread}" AND symbol MATCHES "^pthread_"))
        list(APPEND found "${object}: ${symbol}")
      endif()
    endif()
  endif()
endforeach()

if(found)
  list(JOIN found "\n  " text)
  message(FATAL_ERROR "calls past the drivers in ${LIBRARY}:\n  ${text}")
endif()
if(objects EQUAL 0 OR (ALLOWED AND driver_calls EQUAL 0))
  message(FATAL_ERROR "${LIBRARY}: ${objects} object files, ${driver_calls} calls of drivers: "
                      "nothing was checked")
endif()
message(STATUS "${objects} object files, ${driver_calls} calls, all of them of drivers")
