# Fails unless eso.hpp includes each public header (all but eso/testing/) exactly once.
#   cmake -D include_dir=include -P check_umbrella.cmake
file(GLOB_RECURSE headers RELATIVE ${include_dir} ${include_dir}/eso/*.hpp)
list(FILTER headers EXCLUDE REGEX "^eso/(eso\\.hpp$|testing/)")

file(STRINGS ${include_dir}/eso/eso.hpp lines REGEX "^#include \"")
set(included "")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "^#include \"([^\"]+)\".*" "\\1" header "${line}")
  if(header IN_LIST included)
    message(SEND_ERROR "eso.hpp includes ${header} twice")
  endif()
  if(NOT header IN_LIST headers)
    message(SEND_ERROR "eso.hpp includes ${header}, which is no public header")
  endif()
  list(APPEND included ${header})
endforeach()

foreach(header IN LISTS headers)
  if(NOT header IN_LIST included)
    message(SEND_ERROR "eso.hpp does not include ${header}")
  endif()
endforeach()
