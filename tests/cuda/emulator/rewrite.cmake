# FILES of FROM, to TO, with what only nvcc understands made C++: arrays in shared memory (emulate.h) and <<<>>> (cuda/launch.h).
# Usage: cmake -DFROM=DIR -DTO=DIR -DFILES=LIST_FILE -P rewrite.cmake
file(STRINGS ${FILES} files)
set(type "(__align__\\([0-9]+\\) )?([A-Za-z0-9_:]+) ([a-z_]+)")
foreach(name IN LISTS files)
  file(READ ${FROM}/${name} text)
  string(REGEX REPLACE "extern __shared__ ${type}\\[[]];" "\\2* const \\3 = ::emulated::dynamic_shared<\\2>();" text "${text}")
  string(REGEX REPLACE "([\n ])__shared__ ${type}([^;\n]*);" "\\1using \\4_shared = \\3\\5; \\4_shared& \\4 = ::emulated::static_shared<\\4_shared>(\"\\4\");" text
                       "${text}")
  if(text MATCHES ">>>\\(")
    string(REGEX REPLACE "([A-Za-z0-9_]+(<[^;{}]*>)?)[ \n]*<<<" "::emulated::Kernel{\"${name}: \\1\", [&](const auto&... a) { \\1(a...); }} / ::emulated::Configuration(" text
                         "${text}")
    string(REPLACE ">>>(" ")(" text "${text}")
  endif()
  set(old "")
  if(EXISTS ${TO}/${name})
    file(READ ${TO}/${name} old)
  endif()
  if(NOT text STREQUAL old)
    file(WRITE ${TO}/${name} "${text}")
  endif()
endforeach()
