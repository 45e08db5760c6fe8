# Warnings for diorite's own targets. They are PRIVATE: a user's build sees none of them.

include_guard(GLOBAL)

function(diorite_warnings target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TESTS" "" "")
  set(options
      -Wall
      -Wextra
      -Wpedantic
      -Wshadow
      -Wundef
      -Wcast-align
      -Wcast-qual
      -Wextra-semi
      -Wnon-virtual-dtor
      -Woverloaded-virtual)
  if(NOT arg_TESTS)
    # Lengths and offsets must not change their value on the way from one type to another.
    list(APPEND options -Wconversion -Wsign-conversion)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ takes the frame allocator of a coroutine's promise for an unrelated pair of new and
    # delete.
    list(APPEND options -Wno-mismatched-new-delete -Wduplicated-cond -Wlogical-op)
    if(arg_TESTS)
      # A local node that leaves its list in its destructor is taken for one that dangles there.
      list(APPEND options -Wno-dangling-pointer)
    endif()
  endif()
  if(DIORITE_WERROR)
    list(APPEND options -Werror)
  endif()
  target_compile_options(${target} PRIVATE ${options})
endfunction()
