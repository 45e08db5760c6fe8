# run(command...) ends the test when the command fails. configure_build_run(folder arguments...)
# does the whole life of a consumer project and checks what its program prints.

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " line)
    message(FATAL_ERROR "${line}\nexit status ${status}\n${output}")
  endif()
  set(run_output "${output}" PARENT_SCOPE)
endfunction()

function(check_program program)
  run("${program}")
  if(NOT run_output MATCHES "consumer: works")
    message(FATAL_ERROR "${program} printed:\n${run_output}")
  endif()
endfunction()

function(configure_build_run folder)
  run("${CMAKE_COMMAND}" -S "${SOURCE_DIR}/tests/package/consumer/${folder}" -B "${WORK_DIR}/build"
      -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_FLAGS=${FLAGS}"
      "-DCMAKE_BUILD_TYPE=${BUILD_TYPE}" ${ARGN})
  run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
  check_program("${WORK_DIR}/build/consumer")
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")
