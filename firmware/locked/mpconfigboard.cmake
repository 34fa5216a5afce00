# The locked image for the Raspberry Pi Pico: the stock board, less every way to run anything but what
# is frozen into it. docs/flashing.md, "The locked image (Pico)".
include(${MICROPY_PORT_DIR}/boards/RPI_PICO/mpconfigboard.cmake)
list(APPEND MICROPY_DEF_BOARD MP_CONFIGFILE=\"locked_config.h\")
list(APPEND MICROPY_SOURCE_BOARD ${MICROPY_BOARD_DIR}/no_prompt.c)
# With nothing but frozen modules to import it has no use for the name of a file.
set_source_files_properties(${MICROPY_DIR}/py/builtinimport.c PROPERTIES
    COMPILE_OPTIONS "-Wno-unused-variable"
)
