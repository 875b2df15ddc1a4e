# Installs the library into an empty folder, builds another project against it and runs that.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE ${work_dir})

function(run)
  execute_process(COMMAND ${ARGV} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGV}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${build_dir} --prefix ${work_dir}/prefix)
run(${CMAKE_COMMAND} -G ${generator} -S ${source_dir} -B ${work_dir}/build -D version=${version}
    -D CMAKE_PREFIX_PATH=${work_dir}/prefix -D CMAKE_CXX_COMPILER=${compiler})
run(${CMAKE_COMMAND} --build ${work_dir}/build)
run(${work_dir}/build/consumer)
if(NOT output STREQUAL "${version}\n")
  message(FATAL_ERROR "the consumer printed '${output}', expected '${version}'")
endif()
