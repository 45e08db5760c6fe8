include_guard(GLOBAL)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(diorite_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/diorite")

install(
  TARGETS diorite
  EXPORT diorite-targets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILE_SET optional_headers DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
if(DIORITE_BUILD_SIM)
  install(
    TARGETS diorite_sim
    EXPORT diorite-targets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
install(
  EXPORT diorite-targets
  NAMESPACE diorite::
  DESTINATION "${diorite_package_dir}")

configure_package_config_file(
  cmake/diorite-config.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/diorite-config.cmake"
  INSTALL_DESTINATION "${diorite_package_dir}"
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a new minor version may change the interface.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(diorite_compatibility SameMinorVersion)
else()
  set(diorite_compatibility SameMajorVersion)
endif()
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/diorite-config-version.cmake"
  COMPATIBILITY ${diorite_compatibility})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/diorite-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/diorite-config-version.cmake"
        DESTINATION "${diorite_package_dir}")
if(DIORITE_HAS_URING)
  install(FILES cmake/FindLibUring.cmake DESTINATION "${diorite_package_dir}")
endif()

# The .pc file finds its prefix from its own place, so that an installation can be moved.
file(RELATIVE_PATH diorite_pc_prefix "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" diorite_pc_prefix "${diorite_pc_prefix}")
set(diorite_pc_requires "")
if(DIORITE_HAS_URING)
  set(diorite_pc_requires "liburing")
endif()
configure_file(cmake/diorite.pc.in "${CMAKE_CURRENT_BINARY_DIR}/diorite.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/diorite.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
if(DIORITE_BUILD_SIM)
  configure_file(cmake/diorite-sim.pc.in "${CMAKE_CURRENT_BINARY_DIR}/diorite-sim.pc" @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/diorite-sim.pc"
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endif()
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
