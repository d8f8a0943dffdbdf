include(CMakePackageConfigHelpers)
install(TARGETS coppice EXPORT coppice-targets)
# A library without the CUDA backend does not show its headers either.
if(COPPICE_HAS_CUDA)
  install(DIRECTORY include/coppice TYPE INCLUDE)
else()
  install(DIRECTORY include/coppice TYPE INCLUDE PATTERN "cuda*.h" EXCLUDE)
endif()
install(EXPORT coppice-targets NAMESPACE coppice:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/coppice)
configure_package_config_file(cmake/coppice-config.cmake.in coppice-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/coppice)
write_basic_package_version_file(coppice-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/coppice-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/coppice-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/coppice)
