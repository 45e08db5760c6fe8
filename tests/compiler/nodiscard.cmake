set(command "${COMPILER}" -std=c++20 -Wall -Wextra -Werror=unused-result -fsyntax-only
            "-I${INCLUDE_DIR}" "${SOURCE}")
if(MODE STREQUAL "forgotten")
  list(APPEND command -DDIORITE_FORGET)
else()
  list(APPEND command -Werror)
endif()
execute_process(
  COMMAND ${command}
  RESULT_VARIABLE status
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)

if(MODE STREQUAL "used" AND NOT status EQUAL 0)
  message(FATAL_ERROR "does not compile although nothing is forgotten:\n${output}")
endif()
if(MODE STREQUAL "forgotten")
  if(status EQUAL 0)
    message(FATAL_ERROR "the compiler says nothing:\n${output}")
  endif()
  # One warning and no other error: a snippet that is broken otherwise would prove nothing.
  string(REGEX MATCHALL "error:[^\n]*" errors "${output}")
  foreach(error IN LISTS errors)
    if(NOT error MATCHES "unused-result")
      message(FATAL_ERROR "fails for another reason:\n${output}")
    endif()
  endforeach()
  if(NOT errors)
    message(FATAL_ERROR "fails without an error:\n${output}")
  endif()
  # A snippet with several mistakes marks each of their lines, and every one must be found.
  file(STRINGS "${SOURCE}" marked REGEX "// forgotten$")
  list(LENGTH marked wanted)
  list(LENGTH errors found)
  if(wanted GREATER 0 AND NOT wanted EQUAL found)
    message(FATAL_ERROR "finds ${found} of ${wanted} mistakes:\n${output}")
  endif()
endif()
