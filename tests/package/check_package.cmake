# Builds another project that uses the library in one of three ways, and runs it.
#   cmake -D way=installed|fetched|plain -D ... -P check_package.cmake
cmake_minimum_required(VERSION 3.25)
set(work_dir ${work_dir}/${way})
file(REMOVE_RECURSE ${work_dir})
file(MAKE_DIRECTORY ${work_dir}/build)

function(run)
  execute_process(COMMAND ${ARGV} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGV}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(build)
  run(${CMAKE_COMMAND} -G ${generator} -S ${CMAKE_CURRENT_LIST_DIR} -B ${work_dir}/build
      -D CMAKE_CXX_COMPILER=${compiler} ${ARGV})
  run(${CMAKE_COMMAND} --build ${work_dir}/build)
endfunction()

if(way STREQUAL "installed")
  run(${CMAKE_COMMAND} --install ${build_dir} --prefix ${work_dir}/prefix)
  build(-D version=${version} -D CMAKE_PREFIX_PATH=${work_dir}/prefix)
elseif(way STREQUAL "fetched")
  build(-D fetched=${source_dir} -D FETCHCONTENT_SOURCE_DIR_ESO=${source_dir})
elseif(way STREQUAL "plain")
  run(${compiler} -std=c++20 -I ${source_dir}/include -I ${eigen_include} ${CMAKE_CURRENT_LIST_DIR}/consumer.cpp
      -o ${work_dir}/build/consumer -lfmt -lz)
else()
  message(FATAL_ERROR "unknown way '${way}'")
endif()

run(${work_dir}/build/consumer)
if(NOT output STREQUAL "${version}\n")
  message(FATAL_ERROR "the consumer printed '${output}', expected '${version}'")
endif()
