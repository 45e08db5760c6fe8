# Says whether COMPILER translates SOURCE with FLAGS. What does not compile can be worked around, and
# is only to be known; so this fails only when the same source without the form in question
# (DIORITE_WITHOUT_FORM) does not compile either, and nothing would be known about the form.
separate_arguments(FLAGS)
foreach(mode IN ITEMS -DDIORITE_WITHOUT_FORM -UDIORITE_WITHOUT_FORM)
  execute_process(
    COMMAND "${COMPILER}" -std=c++20 ${FLAGS} ${mode} -c "${SOURCE}" -o "${OUTPUT}"
    RESULT_VARIABLE result
    OUTPUT_QUIET
    ERROR_VARIABLE errors)
  if(mode MATCHES "^-D" AND NOT result EQUAL 0)
    message(FATAL_ERROR "${SOURCE} does not compile without the form either:\n${errors}")
  endif()
endforeach()
if(result EQUAL 0)
  message(STATUS "${WHAT}: absent")
else()
  message(STATUS "${WHAT}: PRESENT (known: ${KNOWN})")
endif()
