# native_module(<room> SOURCES <.cpp>... [KERNELS <.cpp>...] [KERNEL_OPTIONS <flag>...])
#
# Builds <room>._native. SOURCES (bindings, threads, anything with the standard library) are compiled
# once for the plainest machine of the architecture. Each of KERNELS is compiled once per SIMD level,
# with the macros
#     DEEPLAB_LEVEL         a namespace of that level: baseline, avx2, avx512
#     DEEPLAB_VECTOR_BYTES  the width of its registers: 16, 32, 64
# and engines/native/levels.h picks a level at run time. A kernel holds plain loops: an inline function
# of the standard library, compiled for AVX-512, could be the copy that the linker keeps for everyone.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(DEEPLAB_LEVELS baseline avx2 avx512)
  set(DEEPLAB_FLAGS_baseline -march=x86-64-v2)
  set(DEEPLAB_FLAGS_avx2 -march=x86-64-v3 -mprefer-vector-width=256)
  set(DEEPLAB_FLAGS_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
else() # aarch64: NEON is part of the architecture
  set(DEEPLAB_LEVELS baseline)
  set(DEEPLAB_FLAGS_baseline)
endif()
set(DEEPLAB_BYTES_baseline 16)
set(DEEPLAB_BYTES_avx2 32)
set(DEEPLAB_BYTES_avx512 64)

set(DEEPLAB_WARNING_FLAGS)
if(DEEPLAB_WARNINGS)
  set(DEEPLAB_WARNING_FLAGS -Wall -Wextra -Werror)
endif()

function(native_module room)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;KERNELS;KERNEL_OPTIONS")
  set(module ${room}_native)
  nanobind_add_module(${module} NB_STATIC NOMINSIZE ${arg_SOURCES})
  set_target_properties(${module} PROPERTIES OUTPUT_NAME _native)
  target_compile_definitions(${module} PRIVATE DEEPLAB_ROOM=${room})
  target_compile_options(${module} PRIVATE ${DEEPLAB_WARNING_FLAGS})
  target_include_directories(${module} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${module} PRIVATE Threads::Threads)

  if(arg_KERNELS)
    foreach(level IN LISTS DEEPLAB_LEVELS)
      set(kernels ${module}_${level})
      add_library(${kernels} OBJECT ${arg_KERNELS})
      target_compile_options(${kernels} PRIVATE
        -fvisibility=hidden ${DEEPLAB_FLAGS_${level}} ${arg_KERNEL_OPTIONS} ${DEEPLAB_WARNING_FLAGS})
      target_compile_definitions(${kernels} PRIVATE
        DEEPLAB_LEVEL=${level} DEEPLAB_VECTOR_BYTES=${DEEPLAB_BYTES_${level}})
      target_include_directories(${kernels} PRIVATE ${PROJECT_SOURCE_DIR})
      target_sources(${module} PRIVATE $<TARGET_OBJECTS:${kernels}>)
    endforeach()
  endif()
  install(TARGETS ${module} LIBRARY DESTINATION ${room})
endfunction()
