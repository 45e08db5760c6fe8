include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
configure_build_run(find_package "-DCMAKE_PREFIX_PATH=${STAGE_DIR}" "-DWANTED=${VERSION}")
