include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
# Without a build type, as many a project is configured: diorite must not choose one for it.
set(BUILD_TYPE "")
configure_build_run(add_subdirectory "-DDIORITE_SOURCE_DIR=${SOURCE_DIR}"
                    "-DDIORITE_WITH_URING=${WITH_URING}")
