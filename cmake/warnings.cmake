# Warnings and sanitizers, for our own targets only.
add_library(coppice_warnings INTERFACE)
# GCC 12 sees an overlap in `"text" + std::string` that is not there (its bug 105329).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(coppice_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
target_compile_options(coppice_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wnon-virtual-dtor>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${COPPICE_WERROR}>>:-Werror>)
# For the command line and the tests, which take longer to compile than to run: no kernels there.
add_library(coppice_quick_compile INTERFACE)
if(COPPICE_SANITIZE)
  target_compile_options(coppice_quick_compile INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-O0>)
else()
  target_compile_options(coppice_quick_compile INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-O1>)
endif()
if(COPPICE_SANITIZE)
  # Instrumented code takes long to optimise; line tables are all that a report needs.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-O1> $<$<COMPILE_LANGUAGE:CXX>:-g1>)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${COPPICE_SANITIZE}>
                      $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all> $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>)
  add_link_options(-fsanitize=${COPPICE_SANITIZE})
endif()
