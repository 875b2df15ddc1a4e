# Defines eso::torch, the LibTorch adapter, which needs eso::eso. eso_torch_include is where its headers are.
#
# Where LibTorch comes from: Torch_DIR, as for find_package(Torch), if it is given; else the Python package torch in
# the folder ESO_TORCH_WHEEL or in the virtual environment there.
add_library(eso_torch INTERFACE)
add_library(eso::torch ALIAS eso_torch)
target_include_directories(eso_torch INTERFACE ${eso_torch_include})
target_link_libraries(eso_torch INTERFACE eso::eso ${CMAKE_DL_LIBS})
target_compile_definitions(eso_torch INTERFACE USE_C10D_GLOO)

if(Torch_DIR)
  find_package(Torch REQUIRED)
  target_link_libraries(eso_torch INTERFACE ${TORCH_LIBRARIES})
  return()
endif()
file(GLOB torch_folders ${ESO_TORCH_WHEEL} ${ESO_TORCH_WHEEL}/lib/python3*/site-packages)
unset(torch_package)
foreach(folder IN LISTS torch_folders)
  if(EXISTS ${folder}/torch/include/ATen/ATen.h)
    set(torch_package ${folder})
  endif()
endforeach()
if(NOT torch_package)
  message(FATAL_ERROR "eso::torch needs LibTorch: run scripts/setup torch, or give -D Torch_DIR=... or -D ESO_TORCH_WHEEL=...")
endif()
# LibTorch brings headers of other libraries (fmt among them) in its folder: it comes after the system's.
target_compile_options(eso_torch INTERFACE "SHELL:-idirafter ${torch_package}/torch/include"
                                           "SHELL:-idirafter ${torch_package}/torch/include/torch/csrc/api/include")
target_link_libraries(eso_torch INTERFACE ${torch_package}/torch/lib/libtorch_cpu.so ${torch_package}/torch/lib/libc10.so)
# The package's CPU half names CUDA's runtime, which is a package of its own beside it.
file(GLOB cuda_folders ${torch_package}/nvidia/cu*/lib)
foreach(folder IN LISTS cuda_folders)
  target_link_options(eso_torch INTERFACE -Wl,-rpath-link,${folder} -Wl,-rpath,${folder})
endforeach()
